"""Requests begin in turn: some at once, the others so many in a second, and no address before all others."""

import asyncio
from collections import Counter

from worker.console.turns import Turns


async def test_some_begin_at_once_and_the_others_so_many_in_a_second() -> None:
    turns = Turns(1_000, at_once=5, most_waiting=100)
    clock = asyncio.get_running_loop().time
    begun = clock()
    at: list[float] = []

    async def ask() -> None:
        assert await turns.take("a")
        at.append(clock() - begun)

    asked = [asyncio.ensure_future(ask()) for _ in range(25)]
    await asyncio.sleep(0)
    assert len(at) == 5
    await asyncio.gather(*asked)
    assert at[-1] >= 0.001 * 19, "each of the others waits for a millisecond more"


async def test_who_asks_much_lets_the_others_begin_and_is_refused_in_the_end() -> None:
    turns = Turns(500, at_once=1, most_waiting=10)
    order: list[str] = []
    refused = Counter[str]()

    async def ask(address: str) -> None:
        if await turns.take(address):
            order.append(address)
        else:
            refused[address] += 1

    await asyncio.gather(*(ask("flood") for _ in range(100)), *(ask("probe") for _ in range(2)))

    assert order[:5] == ["flood", "flood", "probe", "flood", "probe"]
    assert Counter(order) == {"flood": 11, "probe": 2}
    assert refused == {"flood": 89}


async def test_who_has_gone_keeps_nobody_waiting() -> None:
    turns = Turns(500, at_once=1, most_waiting=10)
    assert await turns.take("a")
    gone = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    after = asyncio.ensure_future(turns.take("a"))
    gone.cancel()

    assert await asyncio.wait_for(after, 60)
