"""Limited calls are shared fairly between first attempts and further ones."""

import asyncio
from collections import Counter

from worker.steps.slots import Line, Turns


async def test_a_line_that_waits_alone_may_have_all() -> None:
    turns = Turns(10)

    assert await turns.reserve(8, Line.FIRST) == 8
    assert await turns.reserve(8, Line.AGAIN) == 2
    turns.give_back(10)
    assert await turns.reserve(128, Line.AGAIN) == 10


async def test_while_both_wait_each_gets_half_of_what_comes_free() -> None:
    turns = Turns(100)
    assert await turns.reserve(100, Line.FIRST) == 100
    waiting = [asyncio.create_task(turns.reserve(128, line)) for line in (Line.FIRST, Line.AGAIN)]
    await asyncio.sleep(0)

    turns.give_back(100)

    assert await asyncio.gather(*waiting) == [50, 50]


async def test_one_call_after_the_other_goes_to_the_lines_by_turns_however_many_wait_in_each() -> None:
    turns, got = Turns(1), Counter[Line]()
    assert await turns.reserve(1, Line.FIRST) == 1

    async def wait(line: Line) -> None:
        assert await turns.reserve(1, line) == 1
        got[line] += 1
        turns.give_back(1)

    new = [asyncio.create_task(wait(Line.FIRST)) for _ in range(1000)]
    again = [asyncio.create_task(wait(Line.AGAIN)) for _ in range(20)]
    await asyncio.sleep(0)
    turns.give_back(1)
    await asyncio.gather(*again)

    assert abs(got[Line.AGAIN] - got[Line.FIRST]) <= 1, "twenty of each, though a thousand waited in front"
    await asyncio.gather(*new)


async def test_what_a_cancelled_one_was_granted_is_not_lost() -> None:
    turns = Turns(4)
    assert await turns.reserve(4, Line.FIRST) == 4
    waiting = [asyncio.create_task(turns.reserve(4, line)) for line in (Line.AGAIN, Line.FIRST, Line.AGAIN)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    turns.give_back(4)
    waiting[1].cancel()
    await asyncio.gather(*waiting[:2], return_exceptions=True)

    assert await waiting[2] > 0
    turns.give_back(waiting[2].result())
    assert await turns.reserve(9, Line.FIRST) == 4


async def test_what_is_taken_over_stands_in_no_other_line() -> None:
    turns = Turns(90)
    assert await turns.reserve(90, Line.FIRST) == 90
    of_the_dead = [asyncio.create_task(turns.reserve(128, Line.TAKEN_OVER)) for _ in range(64)]
    others = [asyncio.create_task(turns.reserve(128, line)) for line in (Line.FIRST, Line.AGAIN)]
    await asyncio.sleep(0)

    turns.give_back(90)

    assert await asyncio.gather(*others) == [30, 30]
    for one in of_the_dead:
        one.cancel()
    await asyncio.gather(*of_the_dead, return_exceptions=True)
