"""Times every page of the console, and what its HTTP API lists, on a database that is there."""

import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import aiohttp

from bench.stage import running, say
from worker.console.access import Role
from worker.console.route import GET
from worker.console.routes import ROUTES
from worker.console.tokens import new_token

GOAL_MS = 150.0  # p95
_LOOKS = 40
_PATIENCE_SECONDS = 30
_NOT_TIMED = ("export", "/static/", "/livez", "/readyz", "/metrics", "/login", "/api/v1/search")
_ASKED = {"/requests/actions/": "?status=failed", "/waiting/actions/": "?org=org-0"}
_FILTERS = ("status=failed", "status=waiting", "org=org-0&since=1d", "reason=503", "sort=took")
_COMMAND = (sys.executable, "-m", "worker", "console")


class Times(NamedTuple):
    """How long the looks at one page took, in milliseconds."""

    p50: float
    p95: float


async def timed(environ: Mapping[str, str], ids: Sequence[str], failed: str) -> dict[str, Times]:
    """Times them one after the other, each with these requests in turn where it is about one."""
    async with console(environ) as client:
        return {name: await _timed(client, addresses) for name, addresses in _pages(ids, failed).items()}


def _pages(ids: Sequence[str], failed: str) -> dict[str, list[str]]:
    """Names every page that is not about one thing, those of some filters, and those of a request."""
    given = {**_ASKED, "/failures/actions/": f"?like={failed}&id={failed}"}
    pages = {
        row.path: [
            row.path + next((asked for start, asked in given.items() if row.path.startswith(start)), "")
        ]
        for row in ROUTES
        if row.methods == GET and "{" not in row.path and not any(part in row.path for part in _NOT_TIMED)
    }
    for path in ("/requests", "/api/v1/requests"):
        pages |= {f"{path}?{filtered}": [f"{path}?{filtered}"] for filtered in _FILTERS}
    for path in ("/search?q=", "/api/v1/search?id="):
        pages[f"{path}EIGHT"] = [f"{path}{one[:8]}" for one in ids]
    for path in ("/requests/{id}", "/api/v1/requests/{id}", "/api/v1/requests/{id}/explanation"):
        pages[path] = [path.format(id=one) for one in ids]
    return pages


async def _timed(client: aiohttp.ClientSession, addresses: Sequence[str]) -> Times:
    times = []
    for number in range(_LOOKS):
        address = addresses[number % len(addresses)]
        begun = perf_counter()
        async with client.get(address) as answer:
            text = await answer.text()
        times.append((perf_counter() - begun) * 1e3)
        if answer.status != HTTPStatus.OK:
            raise AssertionError(f"{address}: {answer.status} {text[:500]}")
    cuts = quantiles(times, n=20)
    found = Times(cuts[9], cuts[18])
    say(f"  {addresses[0]}: p50 {found.p50:,.1f} ms, p95 {found.p95:,.1f} ms")
    return found


@asynccontextmanager
async def console(environ: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Runs the console, and opens a client of somebody who may do everything."""
    port = _free_port()
    token, line = new_token("bench", Role.ADMIN, payloads=True)
    with TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text(f"{line.text}\n", "utf-8")
        served = {**environ, "WORKER_CONSOLE_TOKENS_FILE": str(tokens), "WORKER_HTTP_PORT": str(port)}
        async with (
            running(_COMMAND, served),
            aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}
            ) as client,
        ):
            await _until_served(client)
            yield client


async def _until_served(client: aiohttp.ClientSession) -> None:
    ends = perf_counter() + _PATIENCE_SECONDS
    while perf_counter() < ends:
        try:
            async with client.get("/audit") as answer:
                if answer.status == HTTPStatus.OK:
                    return
        except aiohttp.ClientError:
            pass
    raise AssertionError("the console does not serve")


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
