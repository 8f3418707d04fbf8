"""Each part is up or says why not, and a task that waits for a change is woken."""

import asyncio

import pytest

from worker.monitoring.readiness import Readiness


def test_it_is_ready_once_every_part_is_up() -> None:
    readiness = Readiness(["a", "b"])
    assert readiness.reasons == {"a": "starting", "b": "starting"}

    readiness.up("a")
    with_one = readiness.ready
    readiness.up("b")
    assert (with_one, readiness.ready) == (False, True)

    readiness.down("a", "gone")
    assert (readiness.ready, readiness.reasons) == (False, {"a": "gone"})


def test_the_reasons_shown_are_a_copy() -> None:
    readiness = Readiness(["a"])

    readiness.reasons.clear()

    assert readiness.reasons == {"a": "starting"}


async def test_who_waits_for_some_parts_does_not_wait_for_the_others() -> None:
    readiness = Readiness(["a", "b"])
    some = asyncio.create_task(readiness.until_up("a"))
    every = asyncio.create_task(readiness.until_up())

    readiness.up("a")
    await asyncio.wait_for(some, 60)

    assert not every.done()
    readiness.up("b")
    await asyncio.wait_for(every, 60)


async def test_a_part_that_goes_down_while_others_are_waited_for_is_waited_for_too() -> None:
    readiness = Readiness(["a", "b"])
    readiness.up("a")
    every = asyncio.create_task(readiness.until_up())

    readiness.down("a", "gone")
    readiness.up("b")
    for _ in range(3):
        await asyncio.sleep(0)
    assert not every.done()

    readiness.up("a")
    await asyncio.wait_for(every, 60)


async def test_who_waits_for_a_part_to_go_down_hears_of_it() -> None:
    readiness = Readiness(["a"])
    readiness.up("a")
    down = asyncio.create_task(readiness.until_down("a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(down), 0.01)

    readiness.down("a", "gone")

    await asyncio.wait_for(down, 60)
