"""What the tests share: servers once for the run; a database, names and a worker for each test."""

import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest_asyncio
from support.faults.scene import Scene
from support.harness import Desk, NewWorker, delete_topology, open_desk, run_in_process, with_database
from support.servers import servers

from worker.monitoring import log
from worker.postgres.migrate import migrate
from worker.settings import Settings
from worker.stack import Stack


def pytest_configure() -> None:
    """However the tests were started, the programs that they start heed Ctrl-C and the terminal's end."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:  # in the background of a shell, or under `nohup`
            signal.signal(number, usual)


@pytest_asyncio.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """RabbitMQ and Postgres, real ones."""
    async with servers() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def template(stack: Stack) -> AsyncIterator[str]:
    """A database with the schema, to clone: migrating once is quicker than once a test."""
    name = f"template_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.database_url)
    try:
        await admin.execute(f"create database {name}")
        await migrate(with_database(stack.database_url, name))
        yield name
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


@pytest_asyncio.fixture
async def database_url(stack: Stack, template: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.database_url)
    try:
        await admin.execute(f"create database {name} template {template}")
        yield with_database(stack.database_url, name)
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


@pytest_asyncio.fixture
async def prefix(stack: Stack) -> AsyncIterator[str]:
    """Queues of the test's own."""
    name = f"t{uuid4().hex[:12]}"
    yield name
    await delete_topology(stack.amqp_url, name)


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def settings(stack: Stack, database_url: str, prefix: str) -> Settings:
    made = Settings(
        amqp_url=stack.amqp_url,
        database_url=database_url,
        prefix=prefix,
        http_host="127.0.0.1",
        http_port=0,
        log_level="warning",
        mode="test",
        retry_seconds=0,  # tests that count attempts do not wait for hours
    )
    log.configure(made)
    return made


@pytest_asyncio.fixture
async def new_worker(settings: Settings) -> AsyncIterator[NewWorker]:
    """Starts a worker in this process and waits until it is ready; stops it at the end of the test."""
    async with run_in_process(settings) as start:
        yield start


@pytest_asyncio.fixture
async def desk(stack: Stack, prefix: str) -> AsyncIterator[Desk]:
    """A producer with a reply queue of its own."""
    async with open_desk(stack.amqp_url, prefix) as opened:
        yield opened


@pytest_asyncio.fixture
async def scene(settings: Settings) -> Scene:
    """For worker processes on the servers of the run."""
    return Scene(
        settings.amqp_url.get_secret_value(), settings.database_url.get_secret_value(), settings.prefix
    )
