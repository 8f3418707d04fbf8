"""Has a worker run as a role of its own on servers that were started for it, not as their administrator."""

import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from worker.postgres import migrate
from worker.rabbitmq.access import Actor, User, definitions, hashed
from worker.rabbitmq.connection import vhost_of
from worker.rabbitmq.management import open_management
from worker.settings import Settings
from worker.stack import Stack


async def as_worker(stack: Stack, settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return the settings with a role on each server that is ours, which is made here; a server that the
    environment names is used as it says. The tables are there already.
    """
    name, password = f"worker-{secrets.token_hex(4)}", secrets.token_hex(16)
    changes: dict[str, object] = {}
    if stack.management_url is not None:
        vhost = vhost_of(stack.amqp_url)
        user = User(name, Actor.WORKER, hashed(password))
        await open_management(stack.management_url, vhost, None).define(
            definitions(user, settings.prefix, vhost)
        )
        changes["amqp_url"] = _as(stack.amqp_url, name, password)
        if not environ.get("MANAGEMENT_URL"):
            changes["management_url"] = _as(stack.management_url, name, password)
    if not environ.get("DATABASE_URL"):
        await migrate.create_role(stack.database_url, name, password)
        await migrate.grant(stack.database_url, name, prefix=settings.prefix)
        changes["database_url"] = _as(stack.database_url, name, password)
    return settings.model_copy(update=changes)


def _as(url: str, name: str, password: str) -> SecretStr:
    address = urlsplit(url)
    return SecretStr(
        urlunsplit(address._replace(netloc=f"{name}:{password}@{address.netloc.rpartition('@')[2]}"))
    )
