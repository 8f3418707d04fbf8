"""Fixtures for tests that break something."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from support.servers import Faulty, FaultyRabbit, faulty_postgres, faulty_rabbit


@pytest_asyncio.fixture(scope="module")
async def broker() -> AsyncIterator[FaultyRabbit]:
    """A RabbitMQ to break, for all tests of a file."""
    async with faulty_rabbit() as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def postgres() -> AsyncIterator[Faulty]:
    """A Postgres to break, for all tests of a file."""
    async with faulty_postgres() as running:
        yield running


@pytest.fixture
def gate() -> Iterator[Path]:
    """A file that handlers wait for; its path is short enough for a request's name."""
    path = Path("/tmp", f"gate-{uuid4().hex[:12]}")
    yield path
    path.unlink(missing_ok=True)
