"""Fixtures for all tests: servers once for the run; a database, queues and a worker for each test."""

import signal
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
from support.databases import made_database
from support.faults.scene import Scene
from support.harness import Desk, NewWorker, delete_topology, open_desk, run_in_process
from support.logging_kept import events_kept
from support.responder import Responder, responder_at
from support.servers import (
    Faulty,
    FaultyRabbit,
    faulty_postgres,
    faulty_rabbit,
    rabbit_node,
    server_sandbox,
    servers,
)

from worker.monitoring import log
from worker.postgres.migrate import migrate
from worker.settings import Settings
from worker.stack import Stack

SLOW_FIRST = ("faults", "e2e", "integration", "unit")
SLOWEST = ("test_cluster", "test_store_model", "test_chaos", "test_many_stops")  # a minute or more each


def pytest_configure() -> None:
    """Restore the handlers of SIGINT and SIGHUP: the tests' child processes inherit ignored signals. No
    property fails for its time: a machine may be busy.
    """
    hypothesis.settings.register_profile(
        "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    if hypothesis.settings.get_current_profile_name() in ("default", "ci"):  # else whoever runs them has one
        hypothesis.settings.load_profile("busy")
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:  # in the background of a shell, or under `nohup`
            signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first. One process begins with them, and mostly waits; the others do the quick ones
    meanwhile, and then take slow ones from the end of its share. So the slowest are never the last.
    """

    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        if item.path.stem in SLOWEST:
            return -1
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _events_as_before() -> Iterator[None]:
    with events_kept():
        yield


@pytest_asyncio.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """RabbitMQ and Postgres, which all tests of this process share."""
    async with servers() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def managed(stack: Stack) -> AsyncIterator[tuple[str, str]]:
    """The URLs of a broker and its management API: the run's if it has one, else one of its own."""
    if stack.management_url is not None:
        yield stack.amqp_url, stack.management_url
        return
    async with server_sandbox() as sandbox:
        node = await rabbit_node(sandbox)
        await node.start()
        yield node.url, node.management_url


@pytest_asyncio.fixture(scope="session")
async def broker() -> AsyncIterator[FaultyRabbit]:
    """A RabbitMQ to break, once for all tests of this process that do: each leaves it running, and its queues
    deleted. A start takes seven seconds of processor time.
    """
    async with faulty_rabbit() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[Faulty]:
    """A Postgres to break, as above; each test has a database of its own there."""
    async with faulty_postgres() as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def template(stack: Stack) -> AsyncIterator[str]:
    """The name of a database with the schema, to clone: migrating once is quicker than once a test."""
    async with made_database(stack.database_url, "template") as url:
        await migrate(url)
        yield url.rpartition("/")[2]


@pytest_asyncio.fixture
async def database_url(stack: Stack, template: str) -> AsyncIterator[str]:
    """A database of the test's own, with the schema."""
    async with made_database(stack.database_url, "test", template) as url:
        yield url


@pytest_asyncio.fixture
async def empty_url(stack: Stack) -> AsyncIterator[str]:
    """A database of the test's own, without any tables."""
    async with made_database(stack.database_url, "empty") as url:
        yield url


@pytest_asyncio.fixture
async def prefix(stack: Stack) -> AsyncIterator[str]:
    """A name under which the test's own queues are; they are deleted at the end."""
    name = f"t{uuid4().hex[:12]}"
    yield name
    await delete_topology(stack.amqp_url, name)


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def settings(stack: Stack, database_url: str, prefix: str) -> Settings:
    """A worker's settings for the test's database and queues."""
    made = Settings(
        amqp_url=stack.amqp_url,
        database_url=database_url,
        management_url="",  # else each worker would ask it
        prefix=prefix,
        http_host="127.0.0.1",
        http_port=0,
        log_level="warning",
        mode="test",
        lease_seconds=300,  # longer than a test waits for anything: none passes since a lease ran out
        max_dead_letters=0,  # most tests look for dead letters in their queue
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
async def responder(stack: Stack, prefix: str) -> AsyncIterator[Responder]:
    """Answers requests in a worker's place, as the test says."""
    async with responder_at(stack.amqp_url, prefix) as running:
        yield running


@pytest_asyncio.fixture
async def scene(settings: Settings) -> Scene:
    """The servers, database and queues for the test's worker processes."""
    return Scene(
        settings.amqp_url.get_secret_value(), settings.database_url.get_secret_value(), settings.prefix
    )
