"""The chaos run: producers and workers are at work while servers, workers and networks fail at random.

    PYTHONPATH=tests python -m support.faults.chaos --seed 7 --requests 200000 --faults 100

The seed gives the schedule of the faults; what each meets depends on the machine's timing.
"""

import asyncio
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
from support.faults.load import Books, Producers, keeping_books
from support.faults.processes import WorkerProcess
from support.faults.proxy import Proxy, proxy_to
from support.faults.scene import Scene
from support.servers import Faulty, faulty_postgres, faulty_rabbit, write_down

from worker.operations.promises import Violation, verify
from worker.postgres.migrate import migrate

PREFIX = "chaos"
_ANSWER_SECONDS = 180
_SECONDS_PER_FAULT = 6.0  # more than most take, with the outage after it: requests outlast the faults
_OPEN_AT_MOST = 1_500
_NOT_BEFORE_IN, _DEADLINE_IN = 10, 20  # of so many requests, one
_WAITING = "select count(*) from requests where waits_in is not null"


class Fault(NamedTuple):
    """One thing that was done, and what shows that it was."""

    at_seconds: float
    name: str
    proof: str
    in_flight: int


@dataclass
class Report:
    seed: int
    workers: int
    seconds: float = 0
    confirmed: int = 0
    copies: int = 0
    answered: int = 0
    faults: list[Fault] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    waited: int = 0  # requests that stood in a line
    claims: int = 0  # leases into which they were taken
    too_late: int = 0

    def text(self) -> str:
        kinds = Counter(fault.name for fault in self.faults)
        lines = [
            f"seed {self.seed}, {self.workers} workers, {self.seconds:.0f} s",
            f"confirmed {self.confirmed}, answered {self.answered}, copies of responses {self.copies}",
            f"requests by attempts needed: {dict(sorted(self.attempts.items()))}",
            f"waited {self.waited}, claimed {self.claims} times; past their deadline {self.too_late}",
            f"faults {len(self.faults)}: "
            + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())),
            f"in flight at a fault: at least {min((fault.in_flight for fault in self.faults), default=0)}",
            f"violations {len(self.violations)}",
        ]
        lines += [f"  {violation}" for violation in self.violations[:20]]
        return "\n".join(lines)


@dataclass
class Stage:
    """Everything that can be broken."""

    rabbit: Faulty
    postgres: Faulty
    to_rabbit: Proxy
    to_postgres: Proxy
    workers: list[WorkerProcess]
    books: Books
    producers: Producers
    dice: random.Random
    report: Report
    begun: float


async def run_chaos(
    seed: int, requests: int, faults: int, workers: int = 2, say: Callable[[str], None] = print
) -> Report:
    """Runs it on servers of its own, and checks every promise afterwards."""
    report = Report(seed, workers)
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # lost connections are what this is about
    async with (
        faulty_rabbit() as rabbit,
        faulty_postgres() as postgres,
        proxy_to(rabbit.url) as (to_rabbit, rabbit_url),
        proxy_to(postgres.url) as (to_postgres, postgres_url),
    ):
        await migrate(postgres.url)
        scene = Scene(rabbit_url, postgres_url, PREFIX, more={"WORKER_MAX_ATTEMPTS": "100"})
        crew = [WorkerProcess(scene.environ) for _ in range(workers)]
        try:
            await asyncio.gather(*(worker.start() for worker in crew))
            await write_down(rabbit)
            say("workers are ready, and their queues survive a kill of the broker")
            async with keeping_books(rabbit.url, PREFIX) as books:
                begun = time.monotonic()
                dice = random.Random(seed)  # noqa: S311 — a schedule, no secret
                producers = Producers(rabbit.url, PREFIX, books, open_at_most=_OPEN_AT_MOST)
                producers.headers_for = _some_wait
                stage = Stage(
                    rabbit, postgres, to_rabbit, to_postgres, crew, books, producers, dice, report, begun
                )
                sending = asyncio.create_task(producers.send(requests))
                telling = asyncio.create_task(_tell(books, requests, report, say))
                try:
                    await _break_things(stage, requests, faults, sending, say)
                    producers.per_second = None
                    await sending
                    say("all sent; waiting for the last answers")
                    await _revive(stage)
                    await books.until_all_answered(_ANSWER_SECONDS)
                except AssertionError as error:
                    say(f"gave up: {error}")
                finally:
                    sending.cancel()
                    telling.cancel()
                    await asyncio.gather(sending, telling, return_exceptions=True)
                report.seconds = time.monotonic() - begun
                await _check(report, postgres.url, books)
        finally:
            for worker in crew:
                await worker.end()
    return report


async def _break_things(
    stage: Stage, requests: int, faults: int, sending: "asyncio.Task[None]", say: Callable[[str], None]
) -> None:
    """Causes one fault after the other while requests are on their way; each ends before the next begins.
    The requests that are left are spread over the faults to come.
    """
    menu = list(FAULTS)
    order: list[str] = []
    for over in range(faults):
        left = requests - len(stage.books.confirmed)
        stage.producers.per_second = max(50.0, left / (faults - over) / _SECONDS_PER_FAULT)
        if not order:
            order = stage.dice.sample(menu, len(menu))  # every kind comes up, in a random order
        name = order.pop()
        await asyncio.sleep(stage.dice.uniform(0.3, 2.0))
        if sending.done():
            say("every request was sent before the last fault: send more requests")
            return
        await stage.books.until(lambda: stage.books.open > 0 or sending.done(), 60, "work in flight")
        in_flight = stage.books.open
        proof = await FAULTS[name](stage)
        fault = Fault(time.monotonic() - stage.begun, name, proof, in_flight)
        stage.report.faults.append(fault)
        say(f"{fault.at_seconds:6.1f} s  {name}: {proof}; {in_flight} in flight")


async def _kill_worker(stage: Stage) -> str:
    victim = stage.dice.choice(stage.workers)
    await victim.kill()
    proof = f"exit code {victim.exit_code}"
    await asyncio.sleep(stage.dice.uniform(0, 3))
    await victim.start(until_ready=False)
    return proof


async def _freeze_worker(stage: Stage) -> str:
    victim = stage.dice.choice(stage.workers)
    victim.freeze()
    await asyncio.sleep(0.1)
    proof = f"state {victim.state}"
    await asyncio.sleep(stage.dice.uniform(0.5, 6))
    victim.thaw()
    return proof


async def _kill_all_workers(stage: Stage) -> str:
    await asyncio.gather(*(worker.kill() for worker in stage.workers))
    codes = [worker.exit_code for worker in stage.workers]
    await asyncio.gather(*(worker.start(until_ready=False) for worker in stage.workers))
    return f"exit codes {codes}"


async def _terminate_worker(stage: Stage) -> str:
    victim = stage.dice.choice(stage.workers)
    victim.terminate()
    code = await victim.wait()
    await victim.start(until_ready=False)
    return f"exit code {code}"


def _some_wait(request_id: UUID) -> dict[str, str]:
    """Returns a request's headers: some may not begin yet, and some have a deadline."""
    headers, now = {}, datetime.now(UTC)
    if request_id.int % _NOT_BEFORE_IN == 0:
        headers["not_before"] = (now + timedelta(seconds=1 + request_id.int % 5)).isoformat()
    if request_id.int % _DEADLINE_IN == 1:
        headers["deadline"] = (now + timedelta(seconds=2)).isoformat()
    return headers


def _holding_back(put: str, take_away: str) -> Callable[[Stage], Awaitable[str]]:
    """Makes a fault of a pause or a limit: requests have to wait, and go on after it."""

    async def hold_back(stage: Stage) -> str:
        connection = await asyncpg.connect(stage.postgres.url)
        try:
            before = await connection.fetchval(_WAITING)
            await connection.execute(put)
            async with asyncio.timeout(60):
                while (waiting := await connection.fetchval(_WAITING)) <= before:  # noqa: ASYNC110 — as below
                    await asyncio.sleep(0.05)
            await asyncio.sleep(stage.dice.uniform(1, 4))
            await connection.execute(take_away)
        finally:
            await connection.close()
        return f"{waiting} had to wait"

    return hold_back


def _server_faults(
    name: str, pick: Callable[[Stage], Faulty]
) -> dict[str, Callable[[Stage], Awaitable[str]]]:
    async def kill(stage: Stage) -> str:
        await pick(stage).kill()
        await asyncio.sleep(stage.dice.uniform(0, 3))
        await pick(stage).start()
        return "killed, and started again on its port"

    async def freeze(stage: Stage) -> str:
        await pick(stage).freeze()
        seconds = stage.dice.uniform(1, 8)
        await asyncio.sleep(seconds)
        await pick(stage).thaw()
        return f"stopped in its tracks for {seconds:.1f} s"

    async def restart(stage: Stage) -> str:
        await pick(stage).stop()
        await pick(stage).start()
        return "stopped in order, and started again"

    return {f"{name} killed": kill, f"{name} frozen": freeze, f"{name} restarted": restart}


def _network_faults(
    name: str, pick: Callable[[Stage], Proxy]
) -> dict[str, Callable[[Stage], Awaitable[str]]]:
    async def connected(stage: Stage) -> Proxy:
        """Waits for a connection to break: a worker may still be on its way back from the fault before."""
        async with asyncio.timeout(60):
            while not pick(stage).connections:  # noqa: ASYNC110 — a proxy tells nobody
                await asyncio.sleep(0.05)
        return pick(stage)

    async def cut(stage: Stage) -> str:
        return f"{(await connected(stage)).cut()} connections ended"

    async def reset(stage: Stage) -> str:
        return f"{(await connected(stage)).cut(reset=True)} connections reset"

    async def refuse(stage: Stage) -> str:
        broken = (await connected(stage)).cut(refuse=True)
        await asyncio.sleep(stage.dice.uniform(1, 5))
        pick(stage).heal()
        return f"{broken} connections ended, new ones refused for a while"

    async def delay(stage: Stage) -> str:
        proxy = await connected(stage)
        proxy.delay_seconds = stage.dice.uniform(0.05, 0.3)
        slow = f"{proxy.delay_seconds:.2f} s on each chunk of {proxy.connections} connections"
        await asyncio.sleep(stage.dice.uniform(1, 4))
        proxy.heal()
        return slow

    async def half_open(stage: Stage) -> str:
        proxy = await connected(stage)
        connections, before = proxy.stall(), proxy.held_bytes
        await asyncio.sleep(stage.dice.uniform(1, 8))
        held = proxy.held_bytes - before
        proxy.cut()
        proxy.heal()
        return f"{connections} connections stalled, at least {held} bytes held back, then dropped"

    return {
        f"network to {name} cut": cut,
        f"network to {name} reset": reset,
        f"network to {name} refused": refuse,
        f"network to {name} slow": delay,
        f"network to {name} half-open": half_open,
    }


_PAUSE = "insert into pauses (scope, name, reason, paused_by) values "
_LIMIT = "insert into limits (scope, name, source, running, rate, burst, set_by) values "
FAULTS: dict[str, Callable[[Stage], Awaitable[str]]] = {
    "all paused": _holding_back(_PAUSE + "('all', '', 'chaos', 'me')", "delete from pauses"),
    "some paused": _holding_back(
        _PAUSE + "('org', 'org-1', 'chaos', 'me'), ('org', 'org-4', 'chaos', 'me')", "delete from pauses"
    ),
    "running limited": _holding_back(
        _LIMIT + "('each', '', 'command', 4, null, null, 'me'), ('all', '', 'command', 20, null, null, 'me')",
        "delete from limits",
    ),
    "rate limited": _holding_back(
        _LIMIT + "('each', '', 'command', null, 30, 10, 'me')", "delete from limits"
    ),
    "worker killed": _kill_worker,
    "worker frozen": _freeze_worker,
    "all workers killed": _kill_all_workers,
    "worker terminated": _terminate_worker,
    **_server_faults("RabbitMQ", lambda stage: stage.rabbit),
    **_server_faults("Postgres", lambda stage: stage.postgres),
    **_network_faults("RabbitMQ", lambda stage: stage.to_rabbit),
    **_network_faults("Postgres", lambda stage: stage.to_postgres),
}


async def _revive(stage: Stage) -> None:
    for worker in stage.workers:
        if worker.exit_code is not None:
            await worker.start(until_ready=False)


async def _tell(books: Books, requests: int, report: Report, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(5)
        say(
            f"          {len(books.confirmed)}/{requests} confirmed, {len(books.answered)} answered, "
            f"{len(report.faults)} faults"
        )


async def _check(report: Report, database_url: str, books: Books) -> None:
    report.confirmed, report.answered = len(books.confirmed), len(books.answered)
    report.copies = len(books.received)
    report.violations = await verify(database_url, books.confirmed, books.received)
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch("select attempt, count(*) from requests group by 1")
    report.attempts = {row["attempt"]: row["count"] for row in rows}
    waited = await connection.fetchrow(
        "select count(*) as waited, count(distinct lease) as claims, "
        "count(*) filter (where error_code = 'deadline_exceeded') as too_late "
        "from requests where begins_at is not null"
    )
    report.waited, report.claims, report.too_late = waited["waited"], waited["claims"], waited["too_late"]
    await connection.close()


def main() -> int:
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    report = asyncio.run(run_chaos(given.seed, given.requests, given.faults, given.workers))
    print(report.text())
    idle = len(report.faults) < given.faults or not report.waited or not report.claims
    return 1 if report.violations or idle else 0


if __name__ == "__main__":
    raise SystemExit(main())
