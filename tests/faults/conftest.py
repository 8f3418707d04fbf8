"""Fixtures for tests that break something."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture
def gate() -> Iterator[Path]:
    """A file that handlers wait for; its path is short enough for a request's name."""
    path = Path("/tmp", f"gate-{uuid4().hex[:12]}")
    yield path
    path.unlink(missing_ok=True)
