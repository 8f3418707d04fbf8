"""The local stack really runs: beside others, twice at once, and it leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
import psutil
import pytest
from support.servers import Faulty, FaultyRabbit, write_down

from worker.stack import (
    PostgresServer,
    RabbitNode,
    Stack,
    StackError,
    kept_in,
    local_stack,
    open_sandbox,
    reaper,
)
from worker.stack.ports import LOOPBACK
from worker.stack.probes import postgres_answers, rabbitmq_answers

# With its URLs unset and Docker declared out of reach, a stack is made of programs.
URLS = {"AMQP_URL", "DATABASE_URL"}
UNSET = {name: value for name, value in os.environ.items() if name not in URLS}
PROGRAMS = UNSET | {"DOCKER_HOST": "tcp://192.0.2.1:2375"}

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Belongings:
    """The processes, ports and folder of a stack while it is up."""

    processes: list[psutil.Process]
    folder: Path
    ports: list[int]

    @classmethod
    def of(cls, owner: psutil.Process, *urls: str) -> "Belongings":
        processes = owner.children(recursive=True)
        # Servers of other stacks, the test run's own among them, may be children of this process, too.
        port = urlsplit(urls[1]).port
        data = next(
            each for each in processes if each.name() == "postgres" and _listens(each, port)
        ).cmdline()
        folder = Path(data[data.index("-D") + 1]).parent.parent
        assert folder.is_dir()
        mine = [each for each in processes if str(folder) in _words(each)]
        assert {"postgres", "beam.smp", "epmd"} <= {each.name() for each in mine}
        ports = [urlsplit(url).port or 0 for url in urls]
        assert all(map(_open, ports))
        return cls(mine, folder, ports)

    def left(self) -> list[object]:
        left: list[object] = [each for each in self.processes if reaper.alive(each)]
        left += [port for port in self.ports if _open(port)]
        return left + ([self.folder] if self.folder.exists() else [])


def _listens(process: psutil.Process, port: int | None) -> bool:
    with suppress(psutil.Error):
        return any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port
            for each in process.net_connections()
        )
    return False


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join([*process.cmdline(), *process.environ().values()])
    return ""


def _open(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=2).close()
    except OSError:
        return False
    return True


def _belongings(stack: Stack) -> Belongings:
    return Belongings.of(psutil.Process(), stack.amqp_url, stack.database_url, stack.management_url or "")


@pytest.fixture
def kept_folder() -> Iterator[Path]:
    """A folder that is not there yet, where every user may enter: Postgres does not run as root."""
    folder = Path(tempfile.gettempdir()) / f"kept-{uuid4().hex}"
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def standard_ports_taken() -> Iterator[None]:
    """Makes sure that the standard ports are taken: by another server, or else by this test."""
    with ExitStack() as listeners:
        for port in (4369, 5432, 5672, 15672, 25672):
            with suppress(OSError):
                listeners.enter_context(socket.create_server(("0.0.0.0", port)))  # noqa: S104
            assert _open(port)
        yield


async def _use(stack: Stack) -> None:
    # What follows the slash is the vhost's name: to librabbitmq, Bunny and Java nothing is another vhost.
    assert unquote(urlsplit(stack.amqp_url).path[1:]) == "/"
    database = await asyncpg.connect(stack.database_url)
    assert await database.fetchval("SHOW fsync") == "on"
    await database.close()
    async with await aio_pika.connect(stack.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"x"), queue.name)


@pytest.mark.usefixtures("standard_ports_taken")
async def test_two_at_once_beside_others_leave_nothing_nor_does_an_error_inside() -> None:
    said: list[str] = []
    had: list[Belongings] = []

    async def fail(one: Stack) -> None:
        async with local_stack(said.append, environ=PROGRAMS) as other:
            assert one.kind == other.kind == "programs"
            assert {one.amqp_url, one.database_url}.isdisjoint({other.amqp_url, other.database_url})
            await asyncio.gather(_use(one), _use(other))
            had.extend((_belongings(one), _belongings(other)))
            raise ZeroDivisionError

    async with asyncio.timeout(120), local_stack(said.append, environ=PROGRAMS) as one:
        with pytest.raises(ZeroDivisionError):
            await fail(one)
        assert had[1].left() == []
        await _use(one)
    assert had[0].left() == []
    assert sum("RabbitMQ ready in" in line for line in said) == 2
    secret = urlsplit(one.database_url).password or ""
    assert secret, "the database asks for a password"
    assert not any(secret in line for line in said)


async def test_what_is_kept_is_there_again_and_nothing_else_is_left(kept_folder: Path) -> None:
    async with asyncio.timeout(200):
        with kept_in(kept_folder) as kept:
            async with local_stack(lambda _line: None, environ=PROGRAMS, kept=kept) as first:
                await _use(first)
                database = await asyncpg.connect(first.database_url)
                await database.execute("create table kept as select 1 as row")
                await database.close()
                with pytest.raises(StackError, match="in use by another"), kept_in(kept_folder):
                    pass
        assert not _open(urlsplit(first.amqp_url).port or 0)

        with kept_in(kept_folder) as kept:
            async with local_stack(lambda _line: None, environ=PROGRAMS, kept=kept) as again:
                async with await aio_pika.connect(again.amqp_url) as connection:
                    queue = await (await connection.channel()).declare_queue("q", passive=True)
                    message = await queue.get()
                database = await asyncpg.connect(again.database_url)
                row = await database.fetchval("select row from kept")
                await database.close()
    assert (message and message.body, row) == (b"x", 1)


HOLDER = """
import asyncio, os, signal, sys
from worker.stack import local_stack
async def main():
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with local_stack(lambda line: print(line, file=sys.stderr), environ=os.environ) as stack:
        print(stack.amqp_url, stack.database_url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGKILL,)])
def test_a_signal_leaves_nothing_nor_do_two(numbers: tuple[signal.Signals, ...]) -> None:
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(  # noqa: S603
        command, env=PROGRAMS, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        urls = holder.stdout.readline().split()
        assert len(urls) == 2
        had = Belongings.of(psutil.Process(holder.pid), *urls)
        kept = [each for each in psutil.Process(holder.pid).children() if "reaper" in _words(each)]
        for number in numbers:
            holder.send_signal(number)
        holder.wait(timeout=30)
    psutil.wait_procs(kept, timeout=30)
    assert had.left() == []


async def test_servers_that_are_named_are_used() -> None:
    said: list[str] = []
    named = {"AMQP_URL": "amqp://somewhere", "DATABASE_URL": "postgresql://elsewhere"}
    async with local_stack(said.append, environ=named) as stack:
        assert stack == Stack("amqp://somewhere", "postgresql://elsewhere", "environment")
    assert said == [
        "RabbitMQ: the one that AMQP_URL names",
        "Postgres: the one that DATABASE_URL names",
    ]


async def test_one_that_is_named_is_used_and_the_other_started() -> None:
    environ = PROGRAMS | {"AMQP_URL": "amqp://somewhere"}
    async with local_stack(lambda _: None, environ=environ) as stack:
        assert (stack.amqp_url, stack.kind) == ("amqp://somewhere", "programs")
        database = await asyncpg.connect(stack.database_url)
        await database.close()


async def test_the_best_way_here_works_with_no_setting_at_all() -> None:
    async with local_stack(lambda _: None, environ=UNSET) as stack:
        await _use(stack)


async def test_a_start_that_fails_shows_the_log_and_leaves_nothing() -> None:
    async with open_sandbox() as sandbox:
        node = RabbitNode.alone(sandbox, os.environ)
        with (
            socket.create_server((LOOPBACK, node.port)),
            pytest.raises(StackError, match=r"(?s)RabbitMQ did not start.*  \| .*set AMQP_URL"),
        ):
            await node.start()
    assert not sandbox.path.exists()


async def test_a_killed_rabbitmq_comes_back_with_its_messages(broker: FaultyRabbit) -> None:
    async with await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True)
        await write_down(broker)
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")
        await broker.kill()
    port = urlsplit(broker.url).port or 0
    assert not _open(port)
    await broker.start()
    async with await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        got = await (await channel.declare_queue("kept", passive=True)).get()
        assert got is not None
        assert got.body == b"kept"
        await channel.queue_delete("kept")

    await broker.freeze()
    assert not await rabbitmq_answers(port)
    await broker.thaw()
    assert await rabbitmq_answers(port)


async def test_a_killed_postgres_comes_back_with_its_rows(postgres: Faulty) -> None:
    database = await asyncpg.connect(postgres.url)
    await database.execute("CREATE TABLE kept AS SELECT 1 AS row")
    await postgres.kill()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(postgres.url)
    await postgres.start()
    database = await asyncpg.connect(postgres.url)
    assert await database.fetchval("SELECT row FROM kept") == 1
    await database.execute("DROP TABLE kept")
    await database.close()
    await postgres.stop()
    await postgres.start()

    port = urlsplit(postgres.url).port or 0
    await postgres.freeze()
    assert not await postgres_answers(port)
    await postgres.thaw()
    assert await postgres_answers(port)


async def test_postgres_starts_where_its_user_cannot_get_to_the_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in a checkout below /root, for the user to whom root hands the server.
    monkeypatch.setattr("worker.stack.postgres.open_to_all", lambda _: False)
    async with open_sandbox() as sandbox:
        server = PostgresServer(sandbox, os.environ)
        await server.start()
        copied = any(sandbox.path.glob("*/*/pginstall"))
        assert copied == (os.geteuid() == 0)
        database = await asyncpg.connect(server.url)
        await database.close()
