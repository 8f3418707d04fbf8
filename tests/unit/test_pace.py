"""Large batches hold the loop in slices, one of them at a time."""

import asyncio
from itertools import pairwise

import pytest

from worker.process import pace
from worker.process.pace import paced, rest

_PIECES = 20


@pytest.fixture(autouse=True)
def _always_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_SLICE_SECONDS", -1.0)


async def _batch(done: list[str], name: str) -> None:
    with paced():
        for _ in range(_PIECES):
            done.append(name)
            await rest()


async def _others(done: list[str]) -> None:
    while True:
        done.append("others")
        await asyncio.sleep(0)


async def test_between_two_pieces_of_any_batches_the_others_have_a_turn() -> None:
    done: list[str] = []
    beside = asyncio.create_task(_others(done))
    await asyncio.gather(*(_batch(done, name) for name in "abcd"))
    beside.cancel()

    begun, rest_of_it = done[:5], done[5:]
    assert begun == ["others", *"abcd"]  # they begin as they came
    assert [name for name in rest_of_it if name != "others"] == list("abcd" * (_PIECES - 1))
    assert all("others" in pair for pair in pairwise(rest_of_it))


async def test_batches_take_turns() -> None:
    done: list[str] = []
    await asyncio.gather(*(_batch(done, name) for name in "abc"))

    assert done == list("abc" * _PIECES)


async def test_what_is_not_paced_waits_for_no_turn() -> None:
    done: list[str] = []

    async def small() -> None:
        for _ in range(_PIECES):
            await rest()
        done.append("small")

    await asyncio.gather(_batch(done, "large"), small())

    assert done[:3] == ["large", "small", "large"]


async def test_one_that_is_cancelled_holds_up_nobody() -> None:
    done: list[str] = []
    cancelled, other = (asyncio.create_task(_batch(done, name)) for name in ("cancelled", "other"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled, other])

    assert cancelled.cancelled()
    assert done.count("other") == _PIECES
