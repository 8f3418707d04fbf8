"""Loses, under load, each thing that docker-compose.cluster.yml has more than once: `make cluster-drill`.

A broker that leads nothing, the leader of the requests, a worker, the standby for a while, and just then the
primary, whose standby becomes the primary. At the end `session-worker verify` holds what producers and
subscribers have got against what is on record. Needs Docker; takes some minutes; leaves nothing behind.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from support.faults.load import Books, Producers, keep_sending, keeping_books
from support.harness import eventually

from worker.process.own_command import command
from worker.rabbitmq.topology import names_for
from worker.stack.ports import LOOPBACK, reserve

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.cluster.yml"
PREFIX = "sessions"
BROKERS = ("rabbitmq-1", "rabbitmq-2", "rabbitmq-3")
PORTS = (
    "RABBITMQ_PORT",
    "RABBITMQ_2_PORT",
    "RABBITMQ_3_PORT",
    "POSTGRES_PORT",
    "POSTGRES_2_PORT",
    "CONSOLE_PORT",
)
PASSWORD = "local-only"
PER_SECOND = 60.0
OPEN_AT_MOST = 500
MORE = 200  # answers that show that work goes on
STANDBY_AWAY_SECONDS = 25.0  # longer than any statement is waited for
_BACK_SECONDS = 180.0


class Compose:
    """Runs `docker compose` with this file, and ports of its own."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.ports = ports
        self._environ = {**os.environ, **{name: str(port) for name, port in ports.items()}}

    async def __call__(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "docker", "compose", "-f", str(FILE), *words,
            env=self._environ, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"docker compose {' '.join(words)}: {err.decode()[-2000:]}"
        return out.decode()

    async def sql(self, node: str, query: str) -> str:
        return (await self("exec", "-T", "-u", "postgres", node, "psql", "-XAtqc", query, "sessions")).strip()

    async def start(self, name: str) -> None:
        """Start what was killed; return when it serves."""
        await self("up", "--no-deps", "--no-recreate", "--wait", name)

    async def signal(self, name: str, signal: str, pid: str) -> None:
        """Send a signal to a process within."""
        await self("exec", "-T", "-u", "postgres", name, "sh", "-c", f"kill -{signal} {int(pid)}")

    async def queue(self, asked: str) -> dict[str, Any]:
        """Return what this broker says of the queue of the requests."""
        said = await self(
            "exec", "-T", asked, "rabbitmqctl", "-q", "list_queues", "name", "leader", "online",
            "--formatter", "json",
        )  # fmt: skip
        (queue,) = (each for each in json.loads(said) if each["name"] == names_for(PREFIX).requests)
        return dict(queue)

    def amqp_url(self, user: str) -> str:
        hosts = ",".join(f"{LOOPBACK}:{self.ports[name]}" for name in PORTS[:3])
        return f"amqp://{user}:{PASSWORD}@{hosts}/%2F"

    @property
    def database_url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{self.ports[name]}" for name in PORTS[3:5])
        return f"postgresql://worker:{PASSWORD}@{hosts}/sessions?target_session_attrs=read-write"


class Drill:
    """Says what it does, and for how long nobody was answered."""

    def __init__(self, compose: Compose, books: Books) -> None:
        self._compose = compose
        self._books = books
        self._begun = time.monotonic()

    def say(self, line: str) -> None:
        say(f"{time.monotonic() - self._begun:6.0f} s  {line}")

    async def goes_on(self, since: float | None = None) -> None:
        """Wait until more is accepted, and answered."""
        confirmed, answered = len(self._books.confirmed), len(self._books.answered)
        await self._books.until(lambda: len(self._books.answered) > answered, _BACK_SECONDS, "answered again")
        if since is not None:
            self.say(f"    the next answer came after {time.monotonic() - since:.1f} s")
        await self._books.until(
            lambda: (
                len(self._books.confirmed) > confirmed + MORE and len(self._books.answered) > answered + MORE
            ),
            _BACK_SECONDS,
            "going on",
        )

    async def lose_a_broker(self, *, leader: bool) -> None:
        leading = str((await self._compose.queue(BROKERS[0]))["leader"]).removeprefix("rabbit@")
        lost = leading if leader else next(each for each in BROKERS if each != leading)
        self.say(f"kills {lost}, which leads {'the requests' if leader else 'none of them'}")
        since = time.monotonic()
        await self._compose("kill", lost)
        await self.goes_on(since)
        await self._compose.start(lost)

        async def all_online() -> bool:
            return len((await self._compose.queue(lost))["online"]) == len(BROKERS)

        await eventually(all_online, _BACK_SECONDS)
        self.say(f"    {lost} is back, with all that it missed")
        await self.goes_on()

    async def lose_a_worker(self) -> None:
        (one, *_) = (await self._compose("ps", "-q", "worker")).split()
        self.say("kills a worker")
        since = time.monotonic()
        await run("docker", "kill", one)
        await self.goes_on(since)
        await run("docker", "start", one)

    async def lose_the_primary(self) -> None:
        """Freeze the standby, and kill the primary while it commits for itself alone."""
        self.say(f"freezes the standby for {STANDBY_AWAY_SECONDS:.0f} s: nothing is committed")
        receiver = await self._compose.sql("postgres-2", "select pid from pg_stat_wal_receiver")
        await self._compose.signal("postgres-2", "STOP", receiver)
        await asyncio.sleep(2)  # what it had written before is answered
        answered = len(self._books.answered)
        await asyncio.sleep(STANDBY_AWAY_SECONDS)
        assert len(self._books.answered) == answered, "answered what is on one disk alone"
        self.say("kills the primary, and makes the standby the primary")
        since = time.monotonic()
        await self._compose("kill", "postgres-1")
        await self._compose.signal("postgres-2", "CONT", receiver)
        assert await self._compose.sql("postgres-2", "select pg_promote()") == "t"
        self.say("starts the old one: it undoes what the other does not have, and follows it")
        await self._compose.start("postgres-1")
        await self.goes_on(since)
        standby = "select application_name || ' ' || sync_state from pg_stat_replication"
        assert await self._compose.sql("postgres-2", standby) == "postgres_1 sync"


async def run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0, words


@contextmanager
def free_ports() -> Iterator[dict[str, int]]:
    with ExitStack() as exits:
        held = [reserve() for _ in PORTS]
        for port in held:
            exits.callback(port.release)
        yield {name: port.number for name, port in zip(PORTS, held, strict=True)}


@asynccontextmanager
async def started(compose: Compose) -> AsyncIterator[None]:
    """Run the whole system while this is open."""
    try:
        await compose("up", "--build", "--wait")
        yield
    except BaseException:
        say(await compose("logs", "--tail", "40", "--no-color"))
        raise
    finally:
        await compose("down", "--volumes", "--timeout", "20")


async def drill(compose: Compose) -> int:
    async with keeping_books(compose.amqp_url("subscriber"), PREFIX) as books:
        producers, enough = (
            Producers(compose.amqp_url("producer"), PREFIX, books, OPEN_AT_MOST),
            asyncio.Event(),
        )
        producers.per_second = PER_SECOND
        sending = asyncio.create_task(keep_sending(producers, enough))
        try:
            one = Drill(compose, books)
            await one.goes_on()
            await one.lose_a_broker(leader=False)
            await one.lose_a_broker(leader=True)
            await one.lose_a_worker()
            await one.lose_the_primary()
            enough.set()
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await books.until_all_answered(_BACK_SECONDS)
    return await verdict(compose, books)


async def verdict(compose: Compose, books: Books) -> int:
    """Return the exit code of `session-worker verify`, which says what it found."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *command("verify", *written(books, Path(folder))),
            env={**os.environ, "DATABASE_URL": compose.database_url, "WORKER_PREFIX": PREFIX},
        )
        return await process.wait()


def written(books: Books, folder: Path) -> tuple[str, ...]:
    """Write the books as the command reads them; return its options."""
    confirmed, responses = folder / "confirmed", folder / "responses"
    confirmed.write_text("".join(f"{each}\n" for each in books.confirmed), "utf-8")
    copies = ({"message_id": each.message_id, "body": each.body.decode()} for each in books.received)
    responses.write_text("".join(f"{json.dumps(each)}\n" for each in copies), "utf-8")
    return "--confirmed", str(confirmed), "--responses", str(responses)


def say(line: str) -> None:
    print(line, flush=True)


async def main() -> int:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name in ("aiormq", "aio_pika"):  # lost connections are what this is about
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with free_ports() as ports:
        compose = Compose(ports)
        say("starts three brokers, two Postgres, three workers and a console")
        async with started(compose):
            return await drill(compose)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
