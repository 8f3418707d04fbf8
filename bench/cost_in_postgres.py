"""Shows what a request costs Postgres: bytes of log, of tables and indexes, and processor time.

The worker's own statements, in batches, on one connection: so the bytes do not depend on what else the
machine does.
"""

import json
import time
from datetime import UTC, datetime
from os import urandom
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import psutil
from pamqp import commands as spec

from bench import costs, report
from bench.stage import Servers, a_site
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import parse_seal_keys
from worker.monitoring.readiness import Readiness
from worker.postgres.database import PART, Database
from worker.postgres.leases import Leases
from worker.postgres.store import Store
from worker.process.failpoint import FailPoint
from worker.steps import verdicts
from worker.values import Arrival, first_work

SUITE = "postgres"
_BATCH = 128
_WARM_UP = 10  # batches
_ALL = 1_000_000
_NAME = "bench-one-connection"
_SIZES = """
select c.relname as name, pg_relation_size(c.oid) as bytes from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'i') order by 2 desc
"""


class Spent(NamedTuple):
    log: int
    seconds: float


async def run(servers: Servers, requests: int) -> str:
    figures = {"in order": await _measure(servers, requests, in_order=True)}
    figures["random"] = await _measure(servers, requests, in_order=False)
    report.save(SUITE, {"requests": requests, **figures})
    names = list(figures["in order"])
    return "\n".join(
        ["| of a request | ids in the order of time | random ids |", "| --- | --: | --: |"]
        + [
            f"| {name} | {figures['in order'][name]:,.0f} | {figures['random'][name]:,.0f} |"
            for name in names
        ]
    )


async def _measure(servers: Servers, requests: int, *, in_order: bool) -> dict[str, float]:
    async with a_site(servers) as site:
        looks = await asyncpg.connect(site.database_url)
        database = Database(site.database_url, 1, None, Readiness([PART]), application=_NAME)
        await database.open()
        leases = Leases(database, uuid4(), 30)
        await leases.register("bench", 1, "1")
        store = Store(database, leases, FailPoint(""))
        pid = await looks.fetchval("select pid from pg_stat_activity where application_name = $1", _NAME)
        backend = psutil.Process(pid)
        await _batches(store, leases, _WARM_UP, in_order=in_order)
        small = await _sizes_once_counted(database, looks)
        before = await _spent(looks, backend)
        await _batches(store, leases, requests // _BATCH, in_order=in_order)
        after = await _spent(looks, backend)
        sizes = await _sizes_once_counted(database, looks)
        await database.close()
        await looks.close()
    done = requests // _BATCH * _BATCH
    grown = {name: (size - small[name]) / done for name, size in sizes.items()}
    return {
        "bytes of write-ahead log": (after.log - before.log) / done,
        "processor time, µs": (after.seconds - before.seconds) / done * 1e6,
        "bytes of tables and indexes": sum(grown.values()),
        **{f"of these {name}": size for name, size in grown.items() if size >= 1},
    }


async def _spent(looks: asyncpg.Connection, backend: psutil.Process) -> Spent:
    log = await looks.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    return Spent(log, costs.used_by([backend]))


async def _sizes_once_counted(database: Database, looks: asyncpg.Connection) -> dict[str, int]:
    """Do what a worker does every five seconds, and Postgres soon after: the room of what is counted is used
    again, so it is no cost of a request.
    """
    await database.call("fold_counts", _ALL)
    await looks.execute("vacuum count_changes")
    return {row["name"]: row["bytes"] for row in await looks.fetch(_SIZES)}


async def _batches(store: Store, leases: Leases, number: int, *, in_order: bool) -> None:
    for _ in range(number):
        arrivals = [_arrival(_ordered() if in_order else uuid4()) for _ in range(_BATCH)]
        with leases.take() as lease:
            await store.accept(arrivals, lease)
            now = datetime.now(UTC)
            await store.finish([verdicts.completed(first_work(one), now, {}) for one in arrivals])
            leases.note_published([one.request_id for one in arrivals], lease)


def _arrival(request_id: UUID) -> Arrival:
    payload = {"name": "under fire", "casefile_id": "cf_260101_a", "expiration_seconds": 3600}
    body = {"request_id": str(request_id), "org_id": f"org-{request_id.int % 50}", "payload": payload}
    text = json.dumps(body | {"operation": "create_session"}).encode()
    properties = spec.Basic.Properties(correlation_id=str(request_id), reply_to="amq.gen-abcdefghijklmnop")
    arrival = decode(Message(text, properties, None), Limits(100_000), parse_seal_keys(""), datetime.now(UTC))
    assert isinstance(arrival, Arrival)
    return arrival


def _ordered() -> UUID:
    """Make an id of version 7."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(bytes=milliseconds.to_bytes(6, "big") + b"\x70" + urandom(1) + b"\x80" + urandom(7))
