"""Runs commands one after the other in a process that stays: only the first one waits for its imports."""

import asyncio
import io
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context

from support.commands import PATIENCE_SECONDS, Outcome, Shell

from worker.cli.main import main


class Operator:
    """Somebody who has the command line, and nothing else. Nobody is there to answer its questions."""

    def __init__(self, shell: Shell, process: ProcessPoolExecutor) -> None:
        self._shell = shell
        self._process = process
        self.variables = shell.variables

    async def says(self, *words: str, code: int = 0) -> Outcome:
        """Runs a command, which has to end with this code, and returns its output."""
        running = asyncio.get_running_loop().run_in_executor(
            self._process, run_here, words, dict(self._shell.environ())
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            outcome = await running
        assert outcome.code == code, f"{' '.join(words)}: {outcome}"
        return outcome


def one_process() -> ProcessPoolExecutor:
    """Starts the process in which commands are run; it has a main thread of its own, for signals."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def run_here(words: tuple[str, ...], environ: Mapping[str, str]) -> Outcome:
    """Runs a command in this process, with these variables and no others."""
    os.environ.clear()
    os.environ.update(environ)
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
    assert isinstance(out.buffer, io.BytesIO)
    return Outcome(code, out.buffer.getvalue().decode(), err.getvalue())
