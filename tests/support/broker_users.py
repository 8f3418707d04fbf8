"""Makes users of the broker, for tests of what each may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import aiohttp

_PASSWORD = "only-in-tests"


@asynccontextmanager
async def broker_users(amqp_url: str, management_url: str, *names: str) -> AsyncIterator[list[str]]:
    """Makes users who may do everything in the vhost `/` while the context is open; yields a URL for each."""
    async with aiohttp.ClientSession(management_url.rstrip("/") + "/") as api:
        for name in names:
            await _put(api, f"api/users/{name}", {"password": _PASSWORD, "tags": ""})
            all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
            await _put(api, f"api/permissions/%2F/{name}", all_of_it)
        yield [_as_user(amqp_url, name) for name in names]
        for name in names:
            await api.delete(f"api/users/{name}")


async def _put(api: aiohttp.ClientSession, path: str, given: dict[str, str]) -> None:
    async with api.put(path, json=given) as answer:
        assert answer.ok, await answer.text()


def _as_user(amqp_url: str, name: str) -> str:
    parts = urlsplit(amqp_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name}:{_PASSWORD}@{host}"))
