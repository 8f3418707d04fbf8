"""Starts the servers that the tests run on, in one of three ways.

- environment: those that AMQP_URL and DATABASE_URL name, and MANAGEMENT_URL of RabbitMQ's management API;
- containers: testcontainers, where a Docker engine answers and has the images;
- programs: RabbitMQ and Postgres on this machine, as `session-worker up` starts them.

The first that is possible is taken; TEST_SERVERS=environment|containers|programs insists on
one. Tests that break a server get one of their own, since those of the environment are
somebody's. A service that is missing is an error, never a skipped test.

`python tests/support/servers.py` says which way it is, and installs RabbitMQ where that is needed.
"""

import asyncio
import os
import secrets
import shutil
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from worker.stack import PostgresServer, RabbitNode, Sandbox, Stack, StackError, open_sandbox
from worker.stack.docker import POSTGRES_IMAGE, RABBITMQ_IMAGE, Docker
from worker.stack.install import ensure_rabbitmq
from worker.stack.ports import LOOPBACK
from worker.stack.probes import postgres_answers, rabbitmq_answers, until
from worker.stack.rabbitmq import PLUGINS

Way = Literal["environment", "containers", "programs"]

_ANSWER_SECONDS = 10.0
_WRITE_DOWN = "[disk_log:sync(Log) || Log <- disk_log:all()], [dets:sync(Table) || Table <- dets:all()], ok."
_START_SECONDS = 90.0
_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 8 << 30
# A broker that few ask at a time: several schedulers would take a third more processor time.
ONE_SCHEDULER = "+S 1:1 +SDcpu 1:1 +SDio 1"


class Faulty(Protocol):
    """A server that a test may break. It keeps its port and its data until the test ends."""

    @property
    def url(self) -> str: ...

    async def start(self) -> None:
        """Starts it, also after stop and kill; returns when it serves."""

    async def stop(self) -> None:
        """Stops it in order."""

    async def kill(self) -> None:
        """Sends SIGKILL; returns when the server is gone."""

    async def freeze(self) -> None:
        """Pauses it: connections stay open and nothing answers."""

    async def thaw(self) -> None: ...


class FaultyRabbit(Faulty, Protocol):
    """A broker to break that also takes commands."""

    async def ctl(self, *words: str) -> str:
        """Runs `rabbitmqctl` with these words and returns its output."""

    def tool(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Returns how a tool of RabbitMQ is called about it: its first words, and the variables."""


async def way() -> Way:
    """Returns the way in which the tests get their servers."""
    wanted = os.environ.get("TEST_SERVERS", "")
    named = bool(os.environ.get("AMQP_URL")) and bool(os.environ.get("DATABASE_URL"))
    if wanted == "environment" and not named:
        raise StackError("TEST_SERVERS=environment needs both AMQP_URL and DATABASE_URL")
    if wanted == "containers" and (lacking := await _why_no_containers()):
        raise StackError(f"TEST_SERVERS=containers is not possible: {lacking}")
    match wanted:
        case "environment" | "containers" | "programs":
            return wanted
        case "":
            return "environment" if named else await _private_way()
        case other:
            raise StackError(f"TEST_SERVERS is {other!r}: not environment, containers or programs")


@asynccontextmanager
async def servers() -> AsyncIterator[Stack]:
    """Yields both servers, for the whole run of this process."""
    match await way():
        case "environment":
            urls = os.environ["AMQP_URL"], os.environ["DATABASE_URL"]
            yield Stack(*urls, kind="environment", management_url=os.environ.get("MANAGEMENT_URL"))
        case "containers":
            with ExitStack() as exits:
                yield await asyncio.to_thread(_testcontainers, exits)
        case "programs":
            async with server_sandbox() as sandbox:
                rabbit, postgres = await rabbit_node(sandbox), PostgresServer(sandbox, os.environ)
                await asyncio.gather(rabbit.start(), postgres.start())
                yield Stack(rabbit.url, postgres.url, "programs", rabbit.management_url)


@asynccontextmanager
async def faulty_rabbit() -> AsyncIterator[FaultyRabbit]:
    async with server_sandbox() as sandbox:
        server: FaultyRabbit
        if await fault_way() == "containers":
            user, password = "worker", secrets.token_hex(16)
            server = _Container(
                sandbox,
                image=RABBITMQ_IMAGE,
                inside=5672,
                settings={
                    "RABBITMQ_DEFAULT_USER": user,
                    "RABBITMQ_DEFAULT_PASS": password,
                    "RABBITMQ_ENABLED_PLUGINS": ",".join(PLUGINS),
                },
                url=f"amqp://{user}:{password}@{LOOPBACK}:{{port}}/%2F",
                answers=rabbitmq_answers,
            )
        else:
            server = await rabbit_node(sandbox)
        await server.start()
        yield server


@asynccontextmanager
async def faulty_postgres() -> AsyncIterator[Faulty]:
    async with server_sandbox() as sandbox:
        server: Faulty
        if await fault_way() == "containers":
            password = secrets.token_hex(16)
            server = _Container(
                sandbox,
                image=POSTGRES_IMAGE,
                inside=5432,
                settings={"POSTGRES_PASSWORD": password},
                url=f"postgresql://postgres:{password}@{LOOPBACK}:{{port}}/postgres",
                answers=postgres_answers,
            )
        else:
            server = PostgresServer(sandbox, os.environ)
        await server.start()
        yield server


def server_sandbox() -> AbstractAsyncContextManager[Sandbox]:
    """Opens a sandbox for servers, in memory where there is room for all of them: there, making a database
    takes a tenth of the processor time. What a killed server has written outlives it, as on a disk.
    """
    return open_sandbox(_IN_MEMORY if _has_room(_IN_MEMORY) else None)


def _has_room(folder: Path) -> bool:
    if not folder.is_dir() or os.statvfs(folder).f_flag & os.ST_NOEXEC:  # Postgres may be copied there
        return False
    return min(shutil.disk_usage(folder).free, psutil.virtual_memory().available) > _ROOM_BYTES


async def write_down(broker: FaultyRabbit) -> None:
    """Makes the broker write its queues to disk now. By itself it takes a few seconds, and a kill before
    that forgets a queue, even one with confirmed messages."""
    assert (await broker.ctl("eval", _WRITE_DOWN)).strip() == "ok"


async def _private_way() -> Way:
    return "programs" if await _why_no_containers() else "containers"


async def fault_way() -> Way:
    """Returns the way in which a test gets a server that it may break."""
    chosen = await way()
    return await _private_way() if chosen == "environment" else chosen


async def _why_no_containers() -> str | None:
    docker = Docker(os.environ)
    if reason := await docker.why_not([], print):
        return reason
    images = RABBITMQ_IMAGE, POSTGRES_IMAGE
    missing = [image for image in images if not await docker.has(image)]
    return f"no image {' and '.join(missing)} (docker pull it)" if missing else None


async def rabbit_node(sandbox: Sandbox) -> RabbitNode:
    await ensure_rabbitmq(_say, os.environ)
    return RabbitNode.alone(sandbox, os.environ, flags=ONE_SCHEDULER)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _testcontainers(exits: ExitStack) -> Stack:
    """Starts both servers in containers; blocks until they are ready."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library deprecates parts of itself
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
        from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415
        from testcontainers.core.config import (  # noqa: PLC0415
            ConnectionMode,
            testcontainers_config,
        )

        # Its clean-up container needs an image of its own, which may be out of reach; ours
        # end with the run, and Docker's own names tell what a killed run has left.
        testcontainers_config.ryuk_disabled = True
        # Loopback only, as everything else here, and not through Docker's own network.
        testcontainers_config.tc_host_override = LOOPBACK
        testcontainers_config.connection_mode_override = ConnectionMode.docker_host
        account: dict[str, Any] = {"username": "worker", "password": secrets.token_hex(16)}
        rabbit = RabbitMqContainer(RABBITMQ_IMAGE, **account).with_exposed_ports(15672)
        rabbit.with_env("RABBITMQ_ENABLED_PLUGINS", ",".join(PLUGINS))
        postgres = PostgresContainer(POSTGRES_IMAGE, driver=None)
        for container in (rabbit, postgres):
            published: Any = (LOOPBACK, None)
            container.ports = dict.fromkeys(container.ports, published)
            exits.enter_context(container)
        where = f"{account['username']}:{account['password']}@{LOOPBACK}"
        return Stack(
            f"amqp://{where}:{rabbit.get_exposed_port(5672)}/%2F",
            postgres.get_connection_url(),
            "docker",
            f"http://{where}:{rabbit.get_exposed_port(15672)}",
        )


class _Container:
    """A server in a container, on a port that stays the same when it is started again."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        image: str,
        inside: int,
        settings: Mapping[str, str],
        url: str,
        answers: Callable[[int], Awaitable[bool]],
    ) -> None:
        self._docker = Docker({**os.environ, **settings})
        self._sandbox = sandbox
        self._name = f"{sandbox.path.name}-{inside}"
        self._image = image
        self._inside = inside
        self._settings = settings
        self._port = sandbox.reserve()
        self._answers = partial(answers, self._port)
        self._made = False
        self.url = url.format(port=self._port)

    async def start(self) -> None:
        if self._made:
            await self._run("start", self._name)
        else:
            await self._sandbox.at_end("docker", "rm", "--force", "--volumes", self._name)
            options = [word for name in self._settings for word in ("-e", name)]
            options += ["-p", f"{LOOPBACK}:{self._port}:{self._inside}"]
            # RabbitMQ's data is filed under the host's name.
            options += ["--name", self._name, "--hostname", "server", "--pull", "never"]
            await self._run("run", "--detach", *options, self._image)
            self._made = True
        if not await until(self._answers, lambda: True, _START_SECONDS):
            log = await self._run("logs", "--tail", "20", self._name)
            raise StackError(f"{self._image} did not get ready; the end of its log:\n{log}")

    async def stop(self) -> None:
        await self._run("stop", "--time", "30", self._name)

    async def kill(self) -> None:
        await self._run("kill", self._name)
        await self._run("wait", self._name)

    async def freeze(self) -> None:
        await self._run("pause", self._name)

    async def thaw(self) -> None:
        await self._run("unpause", self._name)

    async def ctl(self, *words: str) -> str:
        return await self._run("exec", self._name, "rabbitmqctl", "-q", *words)

    def tool(self, name: str) -> tuple[list[str], dict[str, str]]:
        return ["docker", "exec", "--interactive", self._name, name], {}

    async def _run(self, *words: str) -> str:
        return await self._docker.run(*words, limit=_ANSWER_SECONDS * 4)


async def _prepare() -> None:
    chosen = await way()
    if "programs" in {chosen, await fault_way()}:
        await ensure_rabbitmq(_say, os.environ)
    _say(f"the tests run on servers from: {chosen}")


if __name__ == "__main__":
    try:
        asyncio.run(_prepare())
    except StackError as error:
        sys.exit(f"error: {error}")
