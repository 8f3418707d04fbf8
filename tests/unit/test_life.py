"""What a handler needs is opened before its calls and closed after them, in one task, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.errors import LifespanFailed
from worker.steps import life
from worker.steps.life import Life


class Kept:
    """A lifespan that does what a test wants, and what it has seen."""

    def __init__(
        self,
        *,
        at_open: Callable[[], Any] = lambda: None,
        until: asyncio.Event | None = None,
        at_close: Callable[[], Any] = lambda: None,
    ) -> None:
        self.seen: list[str] = []
        self.tasks: set[object] = set()
        self.gate = asyncio.Event()
        self.closing = asyncio.Event()
        self._at_open, self._until, self._at_close = at_open, until, at_close

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self._see("opening")
        if self._until:
            await self._until.wait()
        self._at_open()
        try:
            yield "a connection"
        finally:
            self.closing.set()
            self._see("closing")
            await self.gate.wait()
            self._at_close()
            self._see("closed")

    def _see(self, what: str) -> None:
        self.seen.append(what)
        self.tasks.add(asyncio.current_task())


def fails(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


async def test_it_is_open_until_it_is_closed_and_closing_takes_its_time() -> None:
    kept = Kept()
    made = Life("shop:handler", kept)
    with capture_logs() as events:
        await made.open()
    assert (made.state, kept.seen) == ("a connection", ["opening"])
    assert [event["event"] for event in events] == ["handler.opened"]

    closing = asyncio.create_task(made.close())
    await asyncio.wait_for(kept.closing.wait(), 60)
    assert not closing.done()
    kept.gate.set()
    await asyncio.wait_for(closing, 60)

    assert kept.seen == ["opening", "closing", "closed"]
    assert len(kept.tasks) == 1, "by the task that opened it"
    await asyncio.wait_for(made.end(), 60)


async def test_opening_waits_until_it_is_open() -> None:
    until = asyncio.Event()
    kept = Kept(until=until)
    made = Life("h", kept)
    opening = asyncio.create_task(made.open())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not opening.done()
    until.set()
    await asyncio.wait_for(opening, 60)
    assert made.state == "a connection"
    await asyncio.wait_for(made.end(), 60)


async def test_most_handlers_have_none() -> None:
    made = Life()
    for step in (made.open, made.close, made.end):
        await asyncio.wait_for(step(), 60)
    over = asyncio.create_task(made.until_over())
    await asyncio.sleep(0)
    assert not over.done()
    over.cancel()
    assert made.state is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no room"), "ValueError: no room"),
        (KeyError(), "KeyError"),
        (ConnectionError("x" * 1000), "ConnectionError: " + "x" * 300),
        (OSError("postgresql://me:hidden@db/app"), "OSError: postgresql://(masked)@db/app"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
async def test_one_that_fails_at_the_start_ends_the_worker_with_a_sentence(
    error: BaseException, words: str
) -> None:
    made = Life("shop:handler", Kept(at_open=fails(error)))

    with pytest.raises(LifespanFailed) as raised:
        await asyncio.wait_for(made.open(), 60)

    assert str(raised.value).endswith(words)
    assert "at the start" in str(raised.value)
    assert "shop:handler" in str(raised.value)


async def test_one_that_ends_or_fails_by_itself_while_the_worker_runs_is_an_error() -> None:
    @asynccontextmanager
    async def swallows() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise ValueError("lost")

    async def ended(made: Life) -> str:
        over = asyncio.create_task(made.until_over())
        await asyncio.sleep(0)
        assert not over.done()
        assert made._task is not None
        made._task.cancel()  # what it holds is lost
        with pytest.raises(LifespanFailed) as raised:
            await asyncio.wait_for(over, 60)
        return str(raised.value)

    made = Life("h", swallows)
    await made.open()

    said = await ended(made)

    assert "while the worker ran" in said
    assert said.endswith("ValueError: lost")


async def test_one_that_ends_by_itself_without_an_error_is_one() -> None:
    @asynccontextmanager
    async def ends() -> AsyncIterator[None]:
        with suppress(asyncio.CancelledError):
            yield

    made = Life("h", ends)
    await made.open()
    assert made._task is not None
    made._task.cancel()  # what it holds is lost

    with pytest.raises(LifespanFailed, match="while the worker ran: it has ended"):
        await asyncio.wait_for(made.until_over(), 5)


async def test_an_error_while_it_closes_is_told_and_ends_nothing() -> None:
    kept = Kept(at_close=fails(ValueError("late")))
    kept.gate.set()
    made = Life("h", kept)
    await made.open()

    with capture_logs() as events:
        await asyncio.wait_for(made.close(), 60)

    assert [(one["event"], one["error"]) for one in events] == [("handler.close_failed", "ValueError")]
    await asyncio.wait_for(made.until_over(), 60)


async def test_at_the_end_it_may_still_close_and_one_that_does_not_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Kept()
    made = Life("h", kept)
    await made.open()
    with capture_logs() as events:
        ending = asyncio.create_task(made.end())
        await asyncio.wait_for(kept.closing.wait(), 60)
        kept.gate.set()
        await asyncio.wait_for(ending, 60)
    assert (kept.seen[-1], events) == ("closed", [])

    monkeypatch.setattr(life, "_CUT_SECONDS", 0.01)
    stuck = Kept()
    made = Life("h", stuck)
    await made.open()
    with capture_logs() as events:
        await asyncio.wait_for(made.end(), 60)
    assert stuck.seen == ["opening", "closing"]
    assert [event["event"] for event in events] == ["handler.close_cut"]
    assert made._task is not None
    assert made._task.done()


async def test_one_that_does_not_open_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_CUT_SECONDS", 3600)
    made = Life("h", Kept(until=asyncio.Event()))
    opening = asyncio.create_task(made.open())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    with capture_logs() as events:
        await asyncio.wait_for(made.end(), 60)

    assert events == []
    with pytest.raises(asyncio.CancelledError):
        await opening


async def test_a_null_context_is_no_lifespan() -> None:
    made = Life("h", nullcontext)
    await made.open()
    assert made._task is None
