"""Limited calls are shared fairly between first attempts and further ones."""

import asyncio
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.steps.slots import Line, Slots, Turns


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


@pytest.mark.parametrize("pair", list(combinations(Line, 2)))
async def test_any_two_lines_take_turns(pair: tuple[Line, Line]) -> None:
    turns, order = Turns(1), list[Line]()
    assert await turns.reserve(1, Line.FIRST) == 1

    async def wait(line: Line) -> None:
        assert await turns.reserve(1, line) == 1
        order.append(line)
        turns.give_back(1)

    waiting = [asyncio.create_task(wait(line)) for line in pair * 4]
    await asyncio.sleep(0)
    turns.give_back(1)
    await asyncio.gather(*waiting)

    assert order in (list(pair) * 4, list(reversed(pair)) * 4)


async def test_what_is_free_is_taken_at_once_unless_somebody_waits_for_it() -> None:
    turns = Turns(5)
    assert [turns.reserve_now(most) for most in (2, 9, 9)] == [2, 3, 0]
    turns.give_back(1)
    turns.resize(3)
    assert turns.reserve_now(9) == 0, "more are out than may be"
    turns.give_back(4)
    turns.resize(0)
    waits = asyncio.create_task(turns.reserve(1, Line.AGAIN))
    await asyncio.sleep(0)
    turns._free = 2  # in the moment before they are granted
    assert turns.reserve_now(9) == 0
    waits.cancel()


def test_a_batch_gives_back_what_it_does_not_keep_and_at_its_end_what_no_call_has_taken() -> None:
    back: list[int] = []
    with Slots(5, back.append) as slots:
        slots.keep(3)
        slots.take()
        assert (slots.count, back) == (2, [2])
    assert (slots.count, back) == (0, [2, 2])


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


async def test_a_lower_limit_holds_once_those_that_are_out_are_back() -> None:
    turns = Turns(10)
    assert await turns.reserve(10, Line.FIRST) == 10
    turns.resize(1)
    waiting = [asyncio.create_task(turns.reserve(10, line)) for line in Line]
    turns.give_back(9)
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting), "one is still out"

    for _ in Line:  # one line after the other
        turns.give_back(1)
        await asyncio.sleep(0)
    assert [one.result() for one in waiting] == [1] * len(Line)

    waits = asyncio.create_task(turns.reserve(10, Line.FIRST))
    await asyncio.sleep(0)
    turns.resize(10)
    assert await asyncio.wait_for(waits, 60) == 9


async def test_with_a_limit_of_nothing_nobody_gets_any_until_it_is_raised() -> None:
    turns = Turns(3)
    turns.resize(0)
    waits = asyncio.create_task(turns.reserve(3, Line.AGAIN))
    await asyncio.sleep(0)
    assert not waits.done()

    turns.resize(2)
    assert await asyncio.wait_for(waits, 60) == 2


_STEPS = st.one_of(
    st.tuples(st.just("reserve"), st.integers(1, 8), st.sampled_from(Line)),
    st.tuples(st.just("give back"), st.integers(1, 8)),
    st.tuples(st.just("resize"), st.integers(0, 8)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
)


@given(st.lists(_STEPS, max_size=60))
def test_whatever_is_done_no_grant_exceeds_the_limit_and_none_is_lost(steps: list[Any]) -> None:
    async def all_of_them() -> None:
        turns, limit, out = Turns(5), 5, 0
        waiting: list[asyncio.Task[int]] = []

        async def collect() -> None:
            nonlocal out
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            granted = [one.result() for one in waiting if one.done() and not one.cancelled()]
            waiting[:] = [one for one in waiting if not one.done()]
            out += sum(granted)
            assert not granted or out <= limit
            assert out >= limit or not waiting, "none is free while somebody waits"

        for name, *values in steps:
            match name:
                case "reserve":
                    waiting.append(asyncio.create_task(turns.reserve(values[0], values[1])))
                case "give back":
                    back = min(values[0], out)
                    out -= back
                    turns.give_back(back)
                case "resize":
                    limit = values[0]
                    turns.resize(limit)
                case "cancel" if waiting:
                    waiting[values[0] % len(waiting)].cancel()
            await collect()

        for one in waiting:
            one.cancel()
        await collect()
        turns.give_back(out)
        turns.resize(5)
        assert await asyncio.wait_for(turns.reserve(9, Line.FIRST), 60) == 5

    asyncio.run(all_of_them())
