"""Cuts the power again and again while workers are at work, and checks every promise afterwards.

    PYTHONPATH=tests python -m support.faults.power_loss --seed 7 --cuts 20

Each cut is of Postgres, of RabbitMQ with much in its queues, or of everything, workers included. The seed
gives when, and how much of what was not synced survives.

    ... --with fsync=off              with a setting of Postgres that loses what was promised
    ... --with synchronous_commit=off
    ... --with rabbitmq-lies          with a disk that says to RabbitMQ it has written, and has not
"""

import argparse
import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from support.faults.load import Books, Producers, keeping_books
from support.faults.power import POSTGRES_INITDB, QUORUM_LOG, Power, powered
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.harness import eventually
from support.servers import ONE_SCHEDULER, Faulty, FaultyRabbit, write_down

from worker.operations.promises import Violation, verify
from worker.postgres.migrate import migrate
from worker.stack import PostgresServer, RabbitNode
from worker.stack.install import ensure_rabbitmq

PREFIX = "power"
SETTINGS: Final = ("fsync=off", "synchronous_commit=off")
LIES: Final = "rabbitmq-lies"
_SURVIVES_PERCENT: Final = (0, 0, 50, 90)
_PER_SECOND = 150.0
_ANSWER_SECONDS = 120
_MORE = 50
_BACKLOG = 400  # more than workers take into their hands


@dataclass
class Report:
    seed: int
    confirmed: int = 0
    answered: int = 0
    copies: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    files: int = 0  # that were not synced when the power was cut
    attempts: dict[int, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def text(self) -> str:
        lines = [
            f"seed {self.seed}: confirmed {self.confirmed}, answered {self.answered}, copies {self.copies}",
            f"power cuts: {self.cuts}; files that lost something: {self.files}",
            f"requests by attempts needed: {self.attempts}",
            f"violations {len(self.violations)}",
        ]
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations[:20])])


@dataclass
class House:
    """All that goes dark at once."""

    power: Power
    rabbit: FaultyRabbit
    postgres: Faulty
    workers: list[WorkerProcess]

    async def cut(self, what: str, survives_percent: int, seed: int) -> int:
        """Cut the power of `postgres`, `rabbitmq` or `everything`, and bring it back; return how many
        files were not what had been written.
        """
        servers: dict[str, Faulty] = {"postgres": self.postgres, "rabbitmq": self.rabbit}
        dark = servers if what == "everything" else {what: servers[what]}
        lamps = self.workers if what == "everything" else []
        await asyncio.gather(*(each.kill() for each in dark.values()), *(worker.kill() for worker in lamps))
        lost = 0
        for name in dark:
            lost += await self.power.lose(name, survives_percent=survives_percent, seed=seed)
        await asyncio.gather(*(each.start() for each in dark.values()))
        await asyncio.gather(*(each.start(until_ready=False) for each in lamps))
        return lost


@asynccontextmanager
async def house(weak: str, workers: int) -> AsyncIterator[tuple[House, Scene]]:
    await ensure_rabbitmq(print, os.environ)
    async with powered() as (power, sandbox):
        rabbit = RabbitNode.alone(
            sandbox, power.lying_environ if weak == LIES else power.environ, QUORUM_LOG, ONE_SCHEDULER
        )
        postgres = PostgresServer(sandbox, power.environ, initdb=POSTGRES_INITDB)
        await asyncio.gather(rabbit.start(), postgres.start())
        await migrate(postgres.url)
        if weak in SETTINGS:
            await weaken(postgres.url, weak)
        scene = Scene(rabbit.url, postgres.url, PREFIX, more={"WORKER_MAX_ATTEMPTS": "100"})
        crew = [WorkerProcess(scene.environ) for _ in range(workers)]
        try:
            await asyncio.gather(*(worker.start() for worker in crew))
            await write_down(rabbit)
            # All of this was half a minute ago, say: the kernel has written it out.
            await power.write_out("rabbitmq")
            await power.write_out("postgres")
            yield House(power, rabbit, postgres, crew), scene
        finally:
            for worker in crew:
                await worker.end()


async def weaken(database_url: str, setting: str) -> None:
    """Set what makes Postgres promise less; return when all its processes have been told."""
    assert setting in SETTINGS
    name, _, value = setting.partition("=")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"alter system set {name} = {value}")
        await connection.execute("select pg_reload_conf()")
        await eventually(lambda: _has_begun_with(database_url, name, value))
        await connection.execute("checkpoint")
    finally:
        await connection.close()


async def _has_begun_with(database_url: str, name: str, value: str) -> bool:
    """Tell whether new processes have this setting: Postgres has told the others just before."""
    connection = await asyncpg.connect(database_url)
    try:
        found: str = await connection.fetchval("select current_setting($1)", name)
        return found == value
    finally:
        await connection.close()


async def run(seed: int, cuts: int, weak: str = "", say: Callable[[str], None] = print) -> Report:
    for name in ("aiormq", "aio_pika", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    report, dice = Report(seed), random.Random(seed)  # noqa: S311 — a schedule, no secret
    menu = (
        ["postgres"] if weak in SETTINGS else ["rabbitmq"] if weak else ["postgres", "rabbitmq", "everything"]
    )
    async with house(weak, workers=2) as (dark, scene), keeping_books(scene.amqp_url, PREFIX) as books:
        producers = Producers(scene.amqp_url, PREFIX, books, open_at_most=1_000)
        producers.per_second = _PER_SECOND
        enough = asyncio.Event()
        sending = asyncio.create_task(_send_until(producers, enough))
        try:
            for number in range(cuts):
                what, survives = menu[number % len(menu)], dice.choice(_SURVIVES_PERCENT)
                await _goes_on(books)
                await asyncio.sleep(dice.uniform(0.2, 2.0))
                await _until_much_waits(dark.workers, books, _BACKLOG if what != "postgres" else 1)
                in_flight = books.open
                lost = await dark.cut(what, survives, dice.randrange(1 << 30))
                for worker in dark.workers:
                    worker.thaw()
                report.cuts[what] = report.cuts.get(what, 0) + 1
                report.files += lost
                say(f"{what}: {in_flight} in flight, {lost} files not synced; of that {survives} % survived")
            if not weak:
                await _goes_on(books)
            enough.set()
            await sending  # each request that was sent is confirmed then
            await books.until_all_answered(15 if weak else _ANSWER_SECONDS)
        except AssertionError as error:
            say(f"gave up: {error}")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        report.confirmed, report.answered = len(books.confirmed), len(books.answered)
        report.copies = len(books.received)
        report.violations = await verify(scene.database_url, books.confirmed, books.received)
        connection = await asyncpg.connect(scene.database_url)
        rows = await connection.fetch("select attempt, count(*) from requests group by 1 order by 1")
        report.attempts = {row["attempt"]: row["count"] for row in rows}
        await connection.close()
    return report


async def _send_until(producers: Producers, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await producers.send(100)


async def _until_much_waits(workers: list[WorkerProcess], books: Books, much: int) -> None:
    """Wait until so many are in flight; where they have to wait in their queue, the workers are frozen."""
    if much > 1:
        for worker in workers:
            worker.freeze()
    await books.until(lambda: books.open >= much, 60, "in flight")


async def _goes_on(books: Books) -> None:
    answered, confirmed = len(books.answered), len(books.confirmed)
    await books.until(
        lambda: len(books.answered) > answered + _MORE and len(books.confirmed) > confirmed + _MORE,
        _ANSWER_SECONDS, "going on",
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--with", dest="weak", choices=(*SETTINGS, LIES), default="")
    given = parser.parse_args()
    report = asyncio.run(run(given.seed, given.cuts, given.weak))
    print(report.text())
    return 1 if bool(report.violations) != bool(given.weak) else 0


if __name__ == "__main__":
    raise SystemExit(main())
