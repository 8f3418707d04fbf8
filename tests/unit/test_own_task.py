"""A task that is ended ends, also where a library loses its cancellation."""

import asyncio

import pytest

from worker.process import own_task


async def _serve_after_a_lost_cancellation(reached: asyncio.Event) -> None:
    """Waits as a library would that lets a cancellation go by, and then serves for ever."""
    try:
        reached.set()
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    await asyncio.Event().wait()


async def test_a_task_that_lost_its_cancellation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_task, "_AGAIN_SECONDS", 0.01)
    reached = asyncio.Event()
    task = asyncio.create_task(_serve_after_a_lost_cancellation(reached))
    await reached.wait()
    async with asyncio.timeout(60):
        await own_task.end([task])
    assert task.cancelled()


async def test_what_closes_in_order_is_left_the_time_to() -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            closed.set()

    task = asyncio.create_task(serve())
    await begun.wait()
    await own_task.end([task])
    assert closed.is_set()


async def test_an_error_at_the_end_is_dropped_and_an_ended_task_stays_as_it_is() -> None:
    begun = asyncio.Event()

    async def serve() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise OSError("the connection is gone")

    async def done() -> int:
        return 3

    failing, ended = asyncio.create_task(serve()), asyncio.create_task(done())
    await begun.wait()
    assert await ended == 3
    await own_task.end([failing, ended])
    assert isinstance(failing.exception(), OSError)
    assert ended.result() == 3


async def test_whoever_is_cancelled_while_it_ends_tasks_still_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_task, "_AGAIN_SECONDS", 60)
    reached = asyncio.Event()
    inner = asyncio.create_task(_serve_after_a_lost_cancellation(reached))
    await reached.wait()
    outer = asyncio.create_task(own_task.end([inner]))
    while not inner.cancelling():  # noqa: ASYNC110 — a task tells nobody that it was asked to end
        await asyncio.sleep(0)
    outer.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([outer])
    assert outer.cancelled()
    assert inner.cancelled()


async def test_a_group_ends_a_task_that_lost_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_task, "_AGAIN_SECONDS", 0.01)
    reached, begun = asyncio.Event(), list[asyncio.Task[None] | None]()

    async def serve() -> None:
        begun.append(asyncio.current_task())
        await _serve_after_a_lost_cancellation(reached)

    async def work() -> None:
        async with own_task.Group() as group:
            group.begin(serve())

    task = asyncio.create_task(work())
    await reached.wait()
    async with asyncio.timeout(60):
        await own_task.end([task])
    assert [each.cancelled() for each in begun if each] == [True]


async def test_a_group_waits_for_all_and_the_first_error_ends_the_others() -> None:
    served = asyncio.Event()
    async with own_task.Group() as group:
        group.begin(_set_soon(served))
    assert served.is_set()

    with pytest.raises(OSError, match="away"):
        await _serve_beside_one_that_fails()


async def _serve_beside_one_that_fails() -> None:
    async with own_task.Group() as group:
        group.begin(_serve_for_ever())
        group.begin(_fail())


async def _set_soon(event: asyncio.Event) -> None:
    await asyncio.sleep(0)
    event.set()


async def _serve_for_ever() -> None:
    await asyncio.Event().wait()


async def _fail() -> None:
    raise OSError("away")
