"""Runs PgBouncer before a Postgres for the tests, in transaction mode, with its settings as they come."""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGTERM
from urllib.parse import urlsplit, urlunsplit

from support.servers import server_sandbox

from worker.stack import Sandbox, StackError
from worker.stack.install import install
from worker.stack.ports import LOOPBACK
from worker.stack.probes import postgres_answers
from worker.stack.program import User
from worker.stack.server import Server

_START_SECONDS = 90.0
_REMEDY = (
    "PgBouncer is not installed here, and {why}. Install it (Debian, Ubuntu: sudo apt-get install pgbouncer; "
    "macOS: brew install pgbouncer): its tests need it."
)
# Few sessions for many clients, taken in turns: each transaction of a client has most likely another one.
_SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = {loopback}
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 8
server_round_robin = 1
ignore_startup_parameters =
"""


async def _program() -> str:
    places = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if found := shutil.which("pgbouncer", path=places):
        return found
    why_not = await install("pgbouncer", lambda line: print(line, file=sys.stderr, flush=True), os.environ)
    if found := shutil.which("pgbouncer", path=places):
        return found
    raise StackError(_REMEDY.format(why=why_not))


class PgBouncer(Server):
    """A pooler before one server. It keeps its port."""

    def __init__(self, sandbox: Sandbox, postgres_url: str, mode: str) -> None:
        super().__init__("PgBouncer", sandbox.reserve(), stop_by=SIGTERM, stop_seconds=10)
        self._sandbox = sandbox
        self._parts = urlsplit(postgres_url)
        self._file = sandbox.path / "pgbouncer.ini"
        parts = self._parts
        self._file.write_text(
            _SETTINGS.format(
                host=parts.hostname, port=parts.port, user=parts.username, password=parts.password,
                loopback=LOOPBACK, own=self.port, mode=mode,
            )
        )  # fmt: skip
        self._file.chmod(0o644)

    @property
    def url(self) -> str:
        parts = self._parts
        where = f"{parts.username}:{parts.password}@{LOOPBACK}:{self.port}"
        return urlunsplit(parts._replace(netloc=where))

    async def start(self) -> None:
        program = await self._sandbox.start(
            *(await _program(), str(self._file)), env={}, log=self._sandbox.path / "pgbouncer.log",
            user=User.for_servers(), end_by=SIGTERM,
        )  # fmt: skip
        await self._until_ready(program, postgres_answers, _START_SECONDS, "see why it ends")


@asynccontextmanager
async def pgbouncer(postgres_url: str, mode: str = "transaction") -> AsyncIterator[PgBouncer]:
    """Runs one before the server and the database of this URL."""
    async with server_sandbox() as sandbox:
        pooler = PgBouncer(sandbox, postgres_url, mode)
        await pooler.start()
        yield pooler
        await pooler.stop()
