"""What is no handler is refused with what is wrong about it, before the worker takes anything."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.handlers import Context
from worker.steps.loading import is_async, lifespan_of, load_handler, opened


async def handle(_request: Any, _context: Context) -> None:
    """Do nothing."""


def plain(_request: Any, _context: Context) -> None:
    """Do nothing, in a thread."""


@asynccontextmanager
async def open_rooms() -> AsyncIterator[str]:
    yield "rooms"


@asynccontextmanager
async def of_a_place(_place: str) -> AsyncIterator[None]:
    yield


async def no_manager() -> AsyncIterator[None]:
    yield


def yields(_request: Any, _context: Context) -> Iterator[None]:
    yield


async def yields_later(_request: Any, _context: Context) -> AsyncIterator[None]:
    yield


class Handler:
    """Called as a function is, with what it is given around its life."""

    def __init__(self, lifespan: Any = open_rooms) -> None:
        self.lifespan = lifespan

    async def __call__(self, _request: Any, _context: Context) -> None:
        """Do nothing."""


class Yields:
    def __call__(self, _request: Any, _context: Context) -> Iterator[None]:
        yield


class YieldsLater:
    async def __call__(self, _request: Any, _context: Context) -> AsyncIterator[None]:
        yield


def without_context(_request: Any) -> None:
    """Take too little."""


GOOD = [handle, plain, Handler(), Handler(nullcontext), partial(plain)]
WRONG = [
    (Handler, "is a class: name an instance of it"),
    ("text", "is not a function of (request, context)"),
    (yields, "has a `yield`"),
    (yields_later, "has a `yield`"),
    (Yields(), "has a `yield`"),
    (YieldsLater(), "has a `yield`"),
    (without_context, "cannot be called with (request, context): too many positional arguments"),
    (Handler(no_manager), "write @asynccontextmanager above it"),
    (Handler("text"), "has a lifespan that is no function"),
    (Handler(of_a_place), "has a lifespan that cannot be called without arguments: missing"),
]


@pytest.mark.parametrize("handler", GOOD)
def test_a_handler_is_loaded_as_it_is(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.named", handler, raising=False)

    assert load_handler(f"{__name__}:named") is handler
    assert is_async(handler) is (handler is handle or isinstance(handler, Handler))
    assert lifespan_of(handler) is (handler.lifespan if isinstance(handler, Handler) else nullcontext)


@pytest.mark.parametrize(("handler", "why"), WRONG)
def test_what_is_no_handler_is_told(handler: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.named", handler, raising=False)

    with pytest.raises(SettingsError) as raised:
        load_handler(f"{__name__}:named")

    assert str(raised.value).startswith(f"WORKER_HANDLER: '{__name__}:named' ")
    assert why in str(raised.value)


@pytest.mark.parametrize(("module", "ours"), [("worker.no_such", True), ("no_such", False)])
def test_who_names_our_folders_is_told_what_to_import(module: str, ours: bool) -> None:
    with pytest.raises(SettingsError) as raised:
        load_handler(f"{module}:handle")

    assert ("session_worker.handlers" in str(raised.value)) is ours


def test_a_lifespan_that_gives_no_context_manager_is_told_when_it_is_opened() -> None:
    with pytest.raises(TypeError, match="it gives str, which is no async context manager"):
        opened(str)  # type: ignore[arg-type]  # an author's mistake
    assert opened(nullcontext)
