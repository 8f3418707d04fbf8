"""The chaos run: producers and workers are at work while servers, workers and networks fail at random.

    PYTHONPATH=tests python -m support.faults.chaos --seed 7 --requests 200000 --faults 100
    make long-run REQUESTS=1000000 FAULTS=1000

The seed gives the request ids, the order of the faults and what each one is like; what each meets depends on
the machine's timing. `--every-kind` has all kinds, several at a time: full disks need root, and a clock that
jumps needs libfaketime.
"""

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import aio_pika
import asyncpg
from support.faults.disk import Disk, can_mount, small_disk
from support.faults.kinds import KINDS
from support.faults.load import Books, Producers, keeping_books
from support.faults.others import Others, other_clients
from support.faults.people import PEOPLE
from support.faults.processes import WorkerProcess
from support.faults.proxy import proxy_to
from support.faults.scene import Scene
from support.faults.schedule import Schedule, keep_pace
from support.faults.server_kinds import SERVER_KINDS
from support.faults.stage import Fault, Kind, Stage
from support.faults.worker_kinds import WORKER_KINDS
from support.servers import Faulty, faulty_postgres, faulty_rabbit, write_down

from worker.operations.promises import Violation, verify
from worker.postgres.migrate import migrate
from worker.stack import PostgresServer, open_sandbox

PREFIX = "chaos"
EVERY_KIND = {**KINDS, **WORKER_KINDS, **SERVER_KINDS, **PEOPLE}
_ANSWER_SECONDS = 180
_OPEN_AT_MOST = 1_500
_AT_ONCE = 3  # of every kind
_DISKS = {"postgres": 16 << 30, "log": 1 << 20}
_NEED_A_DISK = {"disk of Postgres full": "postgres", "disk of a log full": "log"}
_NOT_BEFORE_IN, _DEADLINE_IN = 10, 20  # of so many requests, one


@dataclass
class Report:
    seed: int
    workers: int
    broker: str = ""
    seconds: float = 0
    confirmed: int = 0
    copies: int = 0
    most_copies: int = 0  # of one response
    answered: int = 0
    faults: list[Fault] = field(default_factory=list)
    not_proven: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)  # kinds of faults that did not happen
    operations: dict[str, int] = field(default_factory=dict)  # of clients
    violations: list[Violation] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    waited: int = 0  # requests that stood in a line
    claims: int = 0  # leases into which they were taken
    too_late: int = 0

    @property
    def kinds(self) -> Counter[str]:
        return Counter(fault.name for fault in self.faults)

    def text(self) -> str:
        lines = [
            f"seed {self.seed}, {self.workers} workers, RabbitMQ {self.broker}, {self.seconds:.0f} s",
            f"confirmed {self.confirmed}, answered {self.answered}, copies of responses {self.copies}",
            f"copies of one response: at most {self.most_copies}",
            f"requests by their end: {self.ends}",
            f"requests by attempts needed: {dict(sorted(self.attempts.items()))}",
            f"waited {self.waited}, claimed {self.claims} times; past their deadline {self.too_late}",
            f"operations of clients, in an order that the specification has: {self.operations}",
            f"faults {len(self.faults)} of {len(self.kinds)} kinds: "
            + ", ".join(f"{name} {count}" for name, count in sorted(self.kinds.items())),
            f"in flight at a fault: at least {min((fault.in_flight for fault in self.faults), default=0)}",
            f"faults that were not proven, and do not count: {len(self.not_proven)}",
            *(f"  {each}" for each in self.not_proven[:20]),
            f"kinds that did not happen: {', '.join(self.never) or 'none'}",
            f"violations {len(self.violations)}",
            *(f"  {violation}" for violation in self.violations[:20]),
        ]
        return "\n".join(lines)


async def run_chaos(
    seed: int,
    requests: int,
    faults: int,
    workers: int = 2,
    *,
    kinds: Mapping[str, Kind] = KINDS,
    at_once: int = 1,
    say: Callable[[str], None] = print,
) -> Report:
    """Runs it on servers of its own, and checks every promise afterwards."""
    report = Report(seed, workers)
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # lost connections are what this is about
    async with _stage(workers, kinds, seed) as stage:
        async with other_clients(stage.rabbit.url, stage.postgres.url, PREFIX, stage.books) as others:
            stage.producers.on_send = others.meet
            await write_down(stage.rabbit)
            report.broker = await _version(stage.rabbit.url)
            say(f"workers are ready, and their queues survive a kill of the broker, RabbitMQ {report.broker}")
            begun = time.monotonic()
            schedule = Schedule(stage, kinds, seed, faults, at_once=at_once, say=say)
            sending = asyncio.create_task(stage.producers.send(requests))
            beside = [
                asyncio.create_task(_tell(stage.books, requests, schedule, say)),
                asyncio.create_task(keep_pace(stage, schedule, requests)),
            ]
            settled = False
            try:
                await schedule.run(sending)
                await sending
                say("all sent; waiting for the last answers")
                await _all_answered(stage, others)
                settled = True
            except Exception as error:  # noqa: BLE001 — told, and what there is gets its verdict
                say(f"gave up: {type(error).__name__}: {error}")
            finally:
                for task in (sending, *beside):
                    task.cancel()
                await asyncio.gather(sending, *beside, return_exceptions=True)
            report.seconds = time.monotonic() - begun
        report.faults, report.not_proven = schedule.done, schedule.not_proven
        report.never = sorted(set(kinds) - set(report.kinds))
        say("checking")
        await _check(report, stage.postgres.url, stage.books, settled=settled)
    return report


@asynccontextmanager
async def _stage(workers: int, kinds: Mapping[str, Kind], seed: int) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as exits:
        disks = {
            name: await exits.enter_async_context(small_disk(_DISKS[name]))
            for kind, name in _NEED_A_DISK.items()
            if kind in kinds
        }
        rabbit = await exits.enter_async_context(faulty_rabbit())
        postgres = await exits.enter_async_context(_postgres(disks.get("postgres")))
        to_rabbit, rabbit_url = await exits.enter_async_context(proxy_to(rabbit.url))
        to_postgres, postgres_url = await exits.enter_async_context(proxy_to(postgres.url))
        await migrate(postgres.url)
        scene = Scene(rabbit_url, postgres_url, PREFIX, more={"WORKER_MAX_ATTEMPTS": "100"})
        crew = [WorkerProcess(scene.environ) for _ in range(workers)]
        for worker in crew:
            exits.push_async_callback(worker.end)
        await asyncio.gather(*(worker.start() for worker in crew))
        books = await exits.enter_async_context(keeping_books(rabbit.url, PREFIX))
        producers = Producers(rabbit.url, PREFIX, books, open_at_most=_OPEN_AT_MOST)
        producers.headers_for = _some_wait
        ids = random.Random(f"{seed}/ids")  # noqa: S311 — ids of a test
        producers.new_id = lambda: UUID(int=ids.getrandbits(128), version=4)
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="session-worker-chaos-")))
        yield Stage(
            rabbit=rabbit,
            postgres=postgres,
            to_rabbit=to_rabbit,
            to_postgres=to_postgres,
            scene=scene,
            workers=crew,
            books=books,
            producers=producers,
            folder=folder,
            disks=disks,
        )


@asynccontextmanager
async def _postgres(disk: Disk | None) -> AsyncIterator[Faulty]:
    """Starts a Postgres, on a disk that can be full if there is one."""
    if disk is None:
        async with faulty_postgres() as server:
            yield server
        return
    async with open_sandbox(disk.path) as sandbox:
        server = PostgresServer(sandbox, os.environ)
        await server.start()
        yield server


def _some_wait(request_id: UUID) -> dict[str, str]:
    """Returns a request's headers: some may not begin yet, and some have a deadline."""
    headers, now = {}, datetime.now(UTC)
    if request_id.int % _NOT_BEFORE_IN == 0:
        headers["not_before"] = (now + timedelta(seconds=1 + request_id.int % 5)).isoformat()
    if request_id.int % _DEADLINE_IN == 1:
        headers["deadline"] = (now + timedelta(seconds=2)).isoformat()
    return headers


async def _version(amqp_url: str) -> str:
    async with await aio_pika.connect(amqp_url) as connection:
        properties = connection.transport.connection.server_properties  # type: ignore[union-attr]
    return str(properties["version"])


async def _all_answered(stage: Stage, others: Others) -> None:
    """Waits until whoever asked is answered, also those that asked again, and with other content."""
    for worker in stage.workers:
        if worker.exit_code is not None:
            await worker.start(until_ready=False)
    await others.until_done(_ANSWER_SECONDS)
    await stage.books.until_all_answered(_ANSWER_SECONDS)
    async with asyncio.timeout(_ANSWER_SECONDS):
        while stage.books.history.unanswered():  # noqa: ASYNC110 — it is not asked with each response
            await asyncio.sleep(1)


async def _tell(books: Books, requests: int, schedule: Schedule, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(5)
        say(
            f"          {len(books.confirmed)}/{requests} confirmed, {books.open} open, "
            f"{len(books.received)} responses, {len(schedule.done)} faults, {schedule.left} to come"
        )


async def _check(report: Report, database_url: str, books: Books, *, settled: bool) -> None:
    report.confirmed, report.answered = len(books.confirmed), len(books.confirmed) - books.open
    report.copies = len(books.received)
    report.most_copies = max(Counter(copy.message_id for copy in books.received).values(), default=0)
    report.violations = await verify(database_url, books.confirmed, books.received)
    report.violations += books.history.judge(settled=settled)
    report.operations = books.history.counts()
    if not settled and not report.violations:
        report.violations.append(Violation("every request is answered", "", "not within the time given"))
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("select attempt, count(*) from requests group by 1")
    report.attempts = {row["attempt"]: row["count"] for row in rows}
    rows = await connection.fetch(
        "select coalesce(error_code, status) as ended, count(*) from requests group by 1"
    )
    report.ends = {row["ended"]: row["count"] for row in rows}
    waited = await connection.fetchrow(
        "select count(*) as waited, count(distinct lease) as claims, "
        "count(*) filter (where error_code = 'deadline_exceeded') as too_late "
        "from requests where begins_at is not null"
    )
    report.waited, report.claims, report.too_late = waited["waited"], waited["claims"], waited["too_late"]
    await connection.close()


def _possible(say: Callable[[str], None]) -> dict[str, Kind]:
    """Returns every kind that this machine can have."""
    if can_mount():
        return EVERY_KIND
    say(f"left out, since only root can mount a disk: {', '.join(_NEED_A_DISK)}")
    return {name: kind for name, kind in EVERY_KIND.items() if name not in _NEED_A_DISK}


def main() -> int:
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every-kind", action="store_true", help="several at a time")
    parser.add_argument("--kind", action="append", choices=list(EVERY_KIND), help="only this one")
    given = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    kinds = _possible(say) if given.every_kind else KINDS
    if given.kind:
        kinds = {name: EVERY_KIND[name] for name in given.kind}
    report = asyncio.run(
        run_chaos(
            given.seed,
            given.requests,
            given.faults,
            given.workers,
            kinds=kinds,
            at_once=_AT_ONCE if given.every_kind else 1,
            say=say,
        )
    )
    print(report.text())
    lacking = len(report.faults) < given.faults or (given.faults >= len(kinds) and report.never)
    return 1 if report.violations or lacking else 0


if __name__ == "__main__":
    raise SystemExit(main())
