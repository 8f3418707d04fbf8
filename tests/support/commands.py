"""Runs commands as people and programs do: as a process with its output and exit code."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from support.prepared import start_worker

PATIENCE_SECONDS = 60.0
_LONGEST_LINE = 1 << 22
_OURS = ("WORKER_", "OTEL_", "AMQP_URL", "DATABASE_URL", "MANAGEMENT_URL")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Parses standard output, all of which has to be one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs commands with these variables, and with none of this project's variables from outside."""

    def __init__(self, **variables: str) -> None:
        self.variables = variables

    def environ(self) -> Mapping[str, str]:
        rest = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return {**rest, **self.variables}

    async def run(self, *words: str, stdin: str | None = None, **variables: str) -> Outcome:
        """Runs a command to its end. Its standard input is empty unless something is piped in."""
        async with self.start(*words, piped=stdin is not None, **variables) as process:
            async with asyncio.timeout(PATIENCE_SECONDS):
                out, err = await process.communicate(stdin.encode() if stdin is not None else None)
            assert process.returncode is not None
            return Outcome(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def start(
        self, *words: str, piped: bool = False, ignoring: str = "", **variables: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Runs a command while the context is open. Signals that it is started to ignore, such as
        "INT HUP", are those of `nohup` and of a shell's background."""
        environ = {**self.environ(), **variables}
        stdin = asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL
        if ignoring:
            process = await asyncio.create_subprocess_exec(
                *("sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh"),
                *(sys.executable, "-m", "worker", *words),
                env=environ, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )  # fmt: skip
        else:
            process = await start_worker(
                words, environ, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.communicate()


async def line_with(stream: asyncio.StreamReader | None, *wanted: str) -> str:
    """Returns the next line that holds all of these words; reads and drops the lines before it."""
    assert stream is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in stream:
            if all(word in line.decode() for word in wanted):
                return line.decode()
    raise AssertionError(f"it ended without a line with {wanted}")
