"""Shows what the console costs the worker beside it, open on ten screens: of its rate, which only many pairs
tell, and of the machine's processor time, which a few tell.
"""

import asyncio
from time import monotonic
from typing import NamedTuple

import aiohttp
import asyncpg
import psutil

from bench import in_turn, pages, report
from bench.contenders import THIS_WORKER
from bench.stage import Servers, a_site, running, until_up

SUITE = "screens"
GOAL = 0.02
_SCREENS = 10
_SHOWN = ("/", "/waiting", "/workers")  # pages that look again by themselves
_AGAIN_SECONDS = 5
_BACKENDS = "select pid from pg_stat_activity where application_name like 'session-worker %:' || $1::integer"


class Spent(NamedTuple):
    """What the console had taken at a moment."""

    at: float
    processor: float  # seconds of it and of the Postgres processes that serve it

    def share_since(self, before: "Spent") -> float:
        """Returns the part of the whole machine that it has taken since then."""
        machine = (self.at - before.at) * (psutil.cpu_count() or 1)
        return (self.processor - before.processor) / machine


async def run(servers: Servers, requests: int, pairs: int) -> str:
    showing, looks = asyncio.Event(), [0]
    shares: dict[bool, list[float]] = {True: [], False: []}
    before: Spent | None = None

    async with (
        a_site(servers) as site,
        running(THIS_WORKER, site.environ) as process,
        pages.console(site.environ) as client,
    ):
        await until_up(site.database_url)
        console, database = _console(), await asyncpg.connect(site.database_url)

        async def switch(open_: bool) -> None:
            nonlocal before
            now = await _spent(console, database)
            if before is not None:
                shares[showing.is_set()].append(now.share_since(before))
            before = now
            showing.set() if open_ else showing.clear()

        screens = [asyncio.create_task(_screen(client, number, showing, looks)) for number in range(_SCREENS)]
        compared = await in_turn.compare(site, process, requests, pairs, switch)
        await switch(False)
        for screen in screens:
            screen.cancel()
        await database.close()
    open_share, closed_share = (sum(each) / len(each) for each in (shares[True], shares[False]))
    report.save(
        SUITE,
        {
            "requests": requests,
            "looks": looks[0],
            "shares": {"open": open_share, "closed": closed_share},
            **in_turn.figures(compared),
        },
    )
    told = in_turn.told(compared, f"The console on {_SCREENS} screens", GOAL)
    return (
        f"{told}\n\nThe screens looked {looks[0]:,} times. Of the machine's processor time, the console and "
        f"what serves it in Postgres took {open_share:.1%} with the screens open, {closed_share:.1%} without."
    )


def _console() -> psutil.Process:
    (console,) = (one for one in psutil.Process().children() if one.cmdline()[-1] == "console")
    return console


async def _spent(console: psutil.Process, database: asyncpg.Connection) -> Spent:
    serving = [psutil.Process(row["pid"]) for row in await database.fetch(_BACKENDS, console.pid)]
    times = [one.cpu_times() for one in (console, *serving)]
    return Spent(monotonic(), sum(each.user + each.system for each in times))


async def _screen(
    client: aiohttp.ClientSession, number: int, showing: asyncio.Event, looks: list[int]
) -> None:
    """Shows one page, and looks again as a browser does; not all screens look at one moment."""
    path = _SHOWN[number % len(_SHOWN)]
    await asyncio.sleep(number * _AGAIN_SECONDS / _SCREENS)
    while True:
        await showing.wait()
        async with client.get(path, headers={"HX-Request": "true"}) as answer:
            await answer.read()
            answer.raise_for_status()
        looks[0] += 1
        await asyncio.sleep(_AGAIN_SECONDS)
