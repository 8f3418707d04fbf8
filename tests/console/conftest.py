"""Fixtures for tests of the console."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.console import NewConsole, consoles

from worker.console.checkup import Checkup
from worker.settings import Settings


@pytest_asyncio.fixture
async def new_console(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[NewConsole]:
    """Makes clients of consoles on the test's database, in which no doctor looks."""
    monkeypatch.setattr(Checkup, "latest", None)
    async with consoles(settings, tmp_path) as made:
        yield made
