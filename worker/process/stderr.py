"""Writes to standard error, though its reader may be gone."""

import os
import sys
from contextlib import suppress
from typing import TextIO, cast


class Stderr:
    """Writes lines that nothing depends on: one that cannot be written is lost, and the work goes on.

    Ctrl-C ends the `tee` behind a pipe together with the worker before it, which still has work to finish.
    """

    def write(self, text: str) -> int:
        try:
            sys.stderr.write(text)
        except OSError as error:
            _drop_buffered(error)
        return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError as error:
            _drop_buffered(error)


def stderr() -> TextIO:
    return cast("TextIO", Stderr())


def _drop_buffered(error: OSError) -> None:
    """Drop what is buffered for a reader who is gone: it would fail with every line, and at the exit."""
    if isinstance(error, BrokenPipeError):
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stderr.fileno())
            os.close(nowhere)
