"""Shows what the console costs the worker beside it, open on ten screens."""

import asyncio

import aiohttp

from bench import in_turn, pages, report
from bench.contenders import THIS_WORKER
from bench.stage import Servers, a_site, running, until_up

SUITE = "screens"
GOAL = 0.02
_SCREENS = 10
_SHOWN = ("/", "/waiting", "/workers")  # pages that look again by themselves
_AGAIN_SECONDS = 5


async def run(servers: Servers, requests: int, pairs: int) -> str:
    showing, looks = asyncio.Event(), [0]

    async def switch(open_: bool) -> None:
        showing.set() if open_ else showing.clear()

    async with (
        a_site(servers) as site,
        running(THIS_WORKER, site.environ) as process,
        pages.console(site.environ) as client,
    ):
        await until_up(site.database_url)
        screens = [asyncio.create_task(_screen(client, number, showing, looks)) for number in range(_SCREENS)]
        compared = await in_turn.compare(site, process, requests, pairs, switch)
        for screen in screens:
            screen.cancel()
    report.save(SUITE, {"requests": requests, "looks": looks[0], **in_turn.figures(compared)})
    told = in_turn.told(compared, f"The console on {_SCREENS} screens", GOAL)
    return f"{told}\n\nThe screens looked {looks[0]:,} times."


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
