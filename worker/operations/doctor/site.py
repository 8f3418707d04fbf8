"""Opens what the checks look at: Postgres, and the broker, as far as they are there."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from worker.errors import MigrationError, SettingsError
from worker.postgres.database import Database, describe
from worker.postgres.looking import LookingDatabase
from worker.postgres.migrate import require_current
from worker.rabbitmq.connection import Broker, Connection, close, vhost_of
from worker.rabbitmq.management import Management, ManagementError, open_management
from worker.settings import Settings
from worker.tls import context_from
from worker.tls_words import tls_in_words

AT_ONCE = 3  # checks; each has a connection to Postgres while it needs one


class Need(StrEnum):
    """What a check cannot do without."""

    POSTGRES = "Postgres"
    TABLES = "the tables"  # of this prefix, and of this version
    BROKER = "RabbitMQ"
    MANAGEMENT = "the management API"


SERVERS = (Need.POSTGRES, Need.BROKER)


@dataclass(frozen=True)
class Site:
    """An installation as the checks see it. A check that says what it needs finds it here."""

    settings: Settings
    lacking: Mapping[Need, str] = field(default_factory=dict)
    """What is not there, and why, in words."""
    opened_database: Database | None = None
    opened_broker: Connection | None = None
    opened_management: Management | None = None

    @property
    def database(self) -> Database:
        """The database: each call is one try, and waits for no lock for long."""
        assert self.opened_database is not None, "the check needs Postgres"  # noqa: S101 — `run` looks first
        return self.opened_database

    @property
    def broker(self) -> Connection:
        assert self.opened_broker is not None, "the check needs the broker"  # noqa: S101 — as above
        return self.opened_broker

    @asynccontextmanager
    async def broker_apart(self) -> AsyncIterator[Connection]:
        """Open a further connection, for what may block the one it is done on."""
        connection = await _hosts(self.settings, context_from(self.settings)).connect()
        try:
            yield connection
        finally:
            await close(connection)

    @property
    def management(self) -> Management:
        assert self.opened_management is not None, "the check needs the API"  # noqa: S101 — as above
        return self.opened_management


@asynccontextmanager
async def visit(
    settings: Settings, needs: Collection[Need], wait_seconds: float, management_url: str | None = None
) -> AsyncIterator[Site]:
    """Open as much of these as is there. What does not answer in time is lacking."""
    lacking: dict[Need, str] = {}
    tls = context_from(settings)
    async with AsyncExitStack() as stack:
        database = broker = management = None
        if Need.POSTGRES in needs or Need.TABLES in needs:
            database = await _postgres(settings, tls, wait_seconds, lacking)
            if database is not None:
                stack.push_async_callback(database.close)
        if Need.BROKER in needs:
            broker = await _broker(settings, tls, wait_seconds, lacking)
            if broker is not None:
                stack.push_async_callback(close, broker)
            if management_url is not None:
                management = await _management(settings, tls, management_url, lacking)
            else:
                lacking[Need.MANAGEMENT] = "give its address in MANAGEMENT_URL or MANAGEMENT_URL_FILE"
        yield Site(settings, lacking, database, broker, management)


async def _postgres(
    settings: Settings, tls: ssl.SSLContext | None, wait_seconds: float, lacking: dict[Need, str]
) -> Database | None:
    """Open the tables of the settings' prefix. Where these are not there, the server is looked at alone."""
    url, schema = settings.database_url.get_secret_value(), None
    database = LookingDatabase(url, AT_ONCE, tls)
    try:
        async with asyncio.timeout(wait_seconds):
            try:
                schema = await require_current(url, tls, settings.prefix)
            except MigrationError as error:
                lacking[Need.TABLES] = str(error)
            await database.open(schema)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 — whatever it is, the other checks go on
        lacking[Need.POSTGRES] = lacking[Need.TABLES] = database.trouble or _words(error)
        await database.close()
        return None
    return database


async def _broker(
    settings: Settings, tls: ssl.SSLContext | None, wait_seconds: float, lacking: dict[Need, str]
) -> Connection | None:
    broker = _hosts(settings, tls)
    try:
        async with asyncio.timeout(wait_seconds):
            return await broker.connect()
    except Exception as error:  # noqa: BLE001 — as above
        lacking[Need.BROKER] = _words(error)
        return None


def _hosts(settings: Settings, tls: ssl.SSLContext | None) -> Broker:
    url = settings.amqp_url.get_secret_value()
    try:
        return Broker(url, tls if url.startswith("amqps:") else None, "session-worker doctor")
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


async def _management(
    settings: Settings, tls: ssl.SSLContext | None, url: str, lacking: dict[Need, str]
) -> Management | None:
    vhost = vhost_of(settings.amqp_url.get_secret_value())
    try:
        management = open_management(url, vhost, tls)
        await management.nodes()  # does it tell this user?
    except ManagementError as error:
        lacking[Need.MANAGEMENT] = str(error)
        return None
    return management


def _words(error: Exception) -> str:
    """Say why a server cannot be reached, without names of this program's."""
    if tls_in_words(error) is None and isinstance(error, OSError) and error.strerror:
        return error.strerror
    return describe(error)
