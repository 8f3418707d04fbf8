"""Gives a local stack: a RabbitMQ and a Postgres to work with, and nothing left of them after.

The two are taken, in this order, from AMQP_URL and DATABASE_URL; from a Docker engine that has
the images or can pull them; from programs on this machine, on free ports and in a folder of
their own. Two stacks do not meet, nor does one meet servers on the standard ports.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from worker.stack.docker import POSTGRES_IMAGE, RABBITMQ_IMAGE, Docker
from worker.stack.errors import StackError
from worker.stack.install import ensure_rabbitmq
from worker.stack.keeping import Kept, kept_in
from worker.stack.postgres import PostgresServer
from worker.stack.rabbitmq import Family, RabbitNode
from worker.stack.sandbox import Sandbox, open_sandbox

__all__ = [
    "Family",
    "Kept",
    "Kind",
    "PostgresServer",
    "RabbitNode",
    "Sandbox",
    "Stack",
    "StackError",
    "kept_in",
    "local_stack",
    "open_sandbox",
]

Kind = Literal["environment", "docker", "programs"]
Say = Callable[[str], None]
Urls = tuple[str, str | None]  # of the server, and of its management page
Starter = Callable[[], Awaitable[Urls]]


@dataclass(frozen=True)
class Stack:
    """The addresses of the two servers. `kind` is the way in which what was missing was started."""

    amqp_url: str
    database_url: str
    kind: Kind
    management_url: str | None = None


@asynccontextmanager
async def local_stack(
    say: Say, *, environ: Mapping[str, str], kept: Kept | None = None
) -> AsyncIterator[Stack]:
    """Yield both servers, ready. On exit, by an error or a cancellation too, what was started is gone. Data
    that is kept is not: then programs are started, and it lies in that folder.

    Raises StackError, whose text says what to do.
    """
    amqp_url = environ.get("AMQP_URL") or None
    database_url = environ.get("DATABASE_URL") or None
    if amqp_url is not None:
        say("RabbitMQ: the one that AMQP_URL names")
    if database_url is not None:
        say("Postgres: the one that DATABASE_URL names")
    if amqp_url is not None and database_url is not None:
        yield Stack(amqp_url, database_url, "environment")
        return

    start = _Start(say, environ, amqp_url, database_url, kept)
    async with AsyncExitStack() as exits:
        stack = None if kept else await start.by_docker(exits)
        if stack is None:
            stack = await start.by_programs(exits)
        yield stack


@dataclass(frozen=True)
class _Start:
    """Starts what the environment does not name."""

    say: Say
    environ: Mapping[str, str]
    amqp_url: str | None
    database_url: str | None
    kept: Kept | None

    async def by_docker(self, exits: AsyncExitStack) -> Stack | None:
        docker = Docker(self.environ)
        images = [RABBITMQ_IMAGE] if self.amqp_url is None else []
        images += [POSTGRES_IMAGE] if self.database_url is None else []
        if (reason := await docker.why_not(images, self.say)) is not None:
            self.say(f"{reason}: using programs on this machine")
            return None

        async with AsyncExitStack() as attempt:
            sandbox = await attempt.enter_async_context(open_sandbox())
            try:
                stack = await self._both(
                    "docker",
                    partial(docker.start_rabbitmq, sandbox),
                    partial(docker.start_postgres, sandbox),
                )
            except StackError as error:
                self.say(f"{error}\nusing programs on this machine instead")
                return None
            await exits.enter_async_context(attempt.pop_all())
            return stack

    async def by_programs(self, exits: AsyncExitStack) -> Stack:
        if self.amqp_url is None:
            await ensure_rabbitmq(self.say, self.environ)
        holding = [self.kept.lock] if self.kept else []
        sandbox = await exits.enter_async_context(open_sandbox(holding=holding))

        async def rabbitmq() -> Urls:
            node = RabbitNode.alone(sandbox, self.environ, kept=self.kept)
            if self.kept:
                exits.push_async_callback(node.stop)  # its queues are written down then
            await node.start()
            return node.url, node.management_url

        async def postgres() -> Urls:
            server = PostgresServer(sandbox, self.environ, self.kept)
            await server.start()
            return server.url, None

        return await self._both("programs", rabbitmq, postgres)

    async def _both(self, kind: Kind, rabbitmq: Starter, postgres: Starter) -> Stack:
        """Start the two side by side; the first that fails ends the wait for the other."""
        try:
            async with asyncio.TaskGroup() as group:
                broker = group.create_task(self._one("RabbitMQ", self.amqp_url, rabbitmq))
                database = group.create_task(self._one("Postgres", self.database_url, postgres))
        except* StackError as errors:
            first = errors.exceptions[0]
        else:
            amqp_url, management_url = broker.result()
            database_url, _ = database.result()
            return Stack(amqp_url, database_url, kind, management_url)
        raise first

    async def _one(self, name: str, given: str | None, start: Starter) -> Urls:
        if given is not None:
            return given, None
        self.say(f"starting {name} …")
        began = time.monotonic()
        try:
            urls = await start()
        except OSError as error:  # no space left, a program that may not be run, …
            raise StackError(f"{name} could not be started: {error}") from error
        where = urlsplit(urls[0]).netloc.rpartition("@")[2]  # the account stays out of sight
        self.say(f"{name} ready in {time.monotonic() - began:.1f} s on {where}")
        return urls
