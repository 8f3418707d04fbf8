"""Runs commands as people and programs do, and returns their output and exit code."""

import asyncio
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

from worker.cli.main import main

PATIENCE_SECONDS = 60.0
_OURS = ("WORKER_", "AMQP_URL", "DATABASE_URL")
_OWN_PROCESS = ("run", "up", "demo")  # a process has the metrics of one worker


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
        """Runs a command to its end. Its standard input is empty unless something is piped in.

        Most run in a process that stays, for which no second of processor goes into starting it.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            if stdin is None and words and words[0] not in _OWN_PROCESS:
                environ = {**self.environ(), **variables}
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(_processes(), _run_here, words, environ)
            return await self.run_apart(*words, stdin=stdin, **variables)

    async def run_apart(self, *words: str, stdin: str | None = None, **variables: str) -> Outcome:
        """Runs a command to its end in a process of its own."""
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
        before = ("sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh") if ignoring else ()
        process = await asyncio.create_subprocess_exec(
            *(*before, sys.executable, "-m", "worker", *words),
            env={**self.environ(), **variables},
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
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


@cache
def _processes() -> ProcessPoolExecutor:
    """Starts the processes that stay: two, for what two people do at once."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def _run_here(words: tuple[str, ...], environ: Mapping[str, str]) -> Outcome:
    """Runs a command in this process, with these variables and no others."""
    os.environ.clear()
    os.environ.update(environ)
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
        except Exception:  # noqa: BLE001 — as the interpreter does
            traceback.print_exc()
            code = 1
    assert isinstance(out.buffer, io.BytesIO)
    return Outcome(code, out.buffer.getvalue().decode(), err.getvalue())
