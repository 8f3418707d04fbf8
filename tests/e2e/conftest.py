"""Fixtures for tests of the command line."""

import re

import pytest
import pytest_asyncio
from support.commands import Shell

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
        WORKER_LEASE_SECONDS=f"{settings.lease_seconds:g}",  # by which commands know who lives
    )


@pytest.fixture
def passwords(settings: Settings) -> list[str]:
    """The passwords of the servers, which are secrets too."""
    urls = settings.amqp_url.get_secret_value(), settings.database_url.get_secret_value()
    found = [match[1] for url in urls if (match := re.search(r"//[^:/@]+:([^@]+)@", url))]
    assert found
    return [password for password in found if len(password) > 8]
