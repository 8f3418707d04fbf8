"""Fixtures for tests of the command line."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import pytest_asyncio
from support.commands import Shell
from support.warm import Operator, one_process

from worker.settings import Settings


@pytest_asyncio.fixture
async def shell(settings: Settings) -> Shell:
    """A shell whose variables name the test's servers, database and queues."""
    return Shell(
        AMQP_URL=settings.amqp_url.get_secret_value(),
        DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_PREFIX=settings.prefix,
        WORKER_HTTP_HOST="127.0.0.1",
        WORKER_HTTP_PORT="0",
    )


@pytest.fixture(scope="session")
def process() -> Iterator[ProcessPoolExecutor]:
    """A process that runs commands, for all tests."""
    with one_process() as pool:
        yield pool


@pytest.fixture
def operator(shell: Shell, process: ProcessPoolExecutor) -> Operator:
    """Somebody who has the command line, and nothing else."""
    return Operator(shell, process)
