"""Measures what traces cost: the same requests with tracing off, with 1 % of them recorded, and with all."""

import asyncio
import re
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType

from bench import report
from bench.contenders import THIS_WORKER, Contender
from bench.figures import Figures
from bench.stage import Servers, say
from bench.throughput import measure

SUITE = "tracing"
OFF = "off"
_SHARES = {OFF: "0", "1 % recorded": "0.01", "all recorded": "1"}


async def run(servers: Servers, requests: int, rounds: int) -> str:
    figures: dict[str, list[Figures]] = {name: [] for name in _SHARES}
    async with _collecting() as endpoint:
        for number in range(rounds):
            for name in (*_SHARES,)[:: -1 if number % 2 else 1]:  # there and back: what drifts hits all alike
                environ = {"WORKER_TRACE_SAMPLE": _SHARES[name]}
                environ |= {} if name == OFF else {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
                contender = Contender(name, THIS_WORKER, 1.0, environ=MappingProxyType(environ))
                found = await measure(servers, contender, requests)
                figures[name].append(found)
                say(f"round {number + 1}: {name}: {found.per_second:,.0f} a second, {found.cpu_us:,.0f} µs")
    rates = {name: statistics.median(one.per_second for one in some) for name, some in figures.items()}
    costs = {name: statistics.median(one.cpu_us for one in some) for name, some in figures.items()}
    report.save(SUITE, {"requests": requests, "rounds": rounds, "per_second": rates, "cpu_us": costs})
    rows = [
        [name, f"{rates[name]:,.0f}", f"{rates[name] / rates[OFF] - 1:+.1%}", f"{costs[name]:,.0f}",
         f"{costs[name] / costs[OFF] - 1:+.1%}"]
        for name in _SHARES
    ]  # fmt: skip
    return report.table(["traces", "requests/s", "", "its CPU, µs", ""], rows)


@asynccontextmanager
async def _collecting() -> AsyncIterator[str]:
    """Takes what is exported, and throws it away."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the worker has gone
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
