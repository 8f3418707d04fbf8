"""Compares one queue of requests with two shards and four, each with one worker process and with two."""

import asyncio
import statistics
from collections import defaultdict

from bench import report
from bench.contenders import THIS_WORKER
from bench.figures import Figures
from bench.latency import keep_open
from bench.stage import Servers, a_site, running, say, until_up
from worker.rabbitmq import topology

SUITE = "shards"
_SHARDS = (1, 2, 4)
_PROCESSES = (1, 2)
_SHARED_OUT_SECONDS = 6.0  # after a worker came
_SECONDS = 9.0


async def run(servers: Servers, rounds: int) -> str:
    found: dict[tuple[int, int], list[Figures]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for processes in _PROCESSES:
            for shards in _SHARDS if number % 2 else reversed(_SHARDS):
                figures = await _measure(servers, shards, processes)
                found[shards, processes].append(figures)
                say(f"round {number}: {figures.name}: {figures.per_second:,.0f} a second")
    report.save(SUITE, {"figures": [one._asdict() for some in found.values() for one in some]})
    rows = []
    for some in found.values():
        fields = ("per_second", "cpu_us", "broker_us", "postgres_us", "load_us", "all_four_us")
        middle = [statistics.median(getattr(one, field) for one in some) for field in fields]
        rows.append([some[0].name, *(f"{value:,.0f}" for value in middle)])
    heads = ["", "requests/s", "worker, µs", "RabbitMQ, µs", "Postgres, µs", "load, µs", "all four, µs"]
    return report.table(heads, rows)


async def _measure(servers: Servers, shards: int, processes: int) -> Figures:
    command = (*THIS_WORKER, "--processes", str(processes))
    name = f"{shards} shards" if shards > 1 else "one queue"
    async with a_site(servers, WORKER_SHARDS=str(shards)) as site:
        spread = topology.design(site.tag, limits_from_policy=True, spread=shards)
        await topology.apply(site.connection, spread)
        try:
            async with running(command, site.environ) as process:
                await until_up(site.database_url, processes)
                await asyncio.sleep(_SHARED_OUT_SECONDS)
                depths = [await topology.depth(site.connection, queue) for queue in spread.shards]
                readers = [depth.consumers if depth else 0 for depth in depths]
                assert readers == [max(1, processes // shards)] * shards, readers
                return await keep_open(
                    site, f"{name}, {processes} processes" if processes > 1 else f"{name}, one process",
                    process, _SECONDS, correlated=True,
                )  # fmt: skip
        finally:
            await topology.remove(site.connection, spread)
