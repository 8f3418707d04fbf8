"""Limited calls are shared fairly between first attempts and further ones."""

import asyncio
from collections import Counter

from worker.turns import Turns


async def test_a_line_that_waits_alone_may_have_all() -> None:
    turns = Turns(10)

    assert await turns.reserve(8, again=False) == 8
    assert await turns.reserve(8, again=True) == 2
    turns.give_back(10)
    assert await turns.reserve(128, again=True) == 10


async def test_while_both_wait_each_gets_half_of_what_comes_free() -> None:
    turns = Turns(100)
    assert await turns.reserve(100, again=False) == 100
    waiting = [asyncio.create_task(turns.reserve(128, again=again)) for again in (False, True)]
    await asyncio.sleep(0)

    turns.give_back(100)

    assert await asyncio.gather(*waiting) == [50, 50]


async def test_one_call_after_the_other_goes_to_the_lines_by_turns_however_many_wait_in_each() -> None:
    turns, got = Turns(1), Counter[bool]()
    assert await turns.reserve(1, again=False) == 1

    async def wait(*, again: bool) -> None:
        assert await turns.reserve(1, again=again) == 1
        got[again] += 1
        turns.give_back(1)

    new = [asyncio.create_task(wait(again=False)) for _ in range(1000)]
    again = [asyncio.create_task(wait(again=True)) for _ in range(20)]
    await asyncio.sleep(0)
    turns.give_back(1)
    await asyncio.gather(*again)

    assert abs(got[True] - got[False]) <= 1, "twenty of each, though a thousand waited in front"
    await asyncio.gather(*new)


async def test_what_a_cancelled_one_was_granted_is_not_lost() -> None:
    turns = Turns(4)
    assert await turns.reserve(4, again=False) == 4
    waiting = [asyncio.create_task(turns.reserve(4, again=again)) for again in (True, False, True)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    turns.give_back(4)
    waiting[1].cancel()
    await asyncio.gather(*waiting[:2], return_exceptions=True)

    assert await waiting[2] > 0
    turns.give_back(waiting[2].result())
    assert await turns.reserve(9, again=False) == 4
