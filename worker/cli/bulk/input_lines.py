"""Reads the requests to send from flags, a file or a pipe, one at a time however many there are."""

import argparse
import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from worker.cli import exits
from worker.cli.bulk.checkpoint import Checkpoint, digest_of
from worker.cli.bulk.document import is_json, request_in
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.client import Request

_AHEAD = 1000  # lines of up to `_UNIT` characters read before they are asked for; of longer ones fewer
_UNIT = 8192
_PAYLOAD_FLAGS = ("name", "status", "expiration_seconds", "assistant_id", "phone_number_id", "casefile_id")
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_HINT_SECONDS = 2.0


@dataclass(frozen=True)
class InputLine:
    """One request of many, or what is wrong with it. The first has the number 1."""

    number: int
    request: Request | None
    problem: str = ""


def from_options(
    options: argparse.Namespace, checkpoint: Checkpoint | None = None
) -> AsyncGenerator[InputLine, None]:
    """Yield the requests that the command line names, without those that the checkpoint has as finished."""
    payload = {flag: value for flag in _PAYLOAD_FLAGS if (value := getattr(options, flag)) is not None}
    file = _file_of(options, piped=not payload and options.count is None and _is_piped())
    if file is None:
        if checkpoint is not None:
            raise CommandError(exits.USAGE, "--checkpoint needs a list of requests: --file, or a pipe")
        return _from_flags(options, payload)
    if checkpoint is None:
        return _from_file(file, options, payload)
    return _from_resumable_file(file, options, payload, checkpoint)


def request_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options that change the content of the request that a line makes."""
    return {name: getattr(options, name) for name in (*_PAYLOAD_FLAGS, "org_id", "user_id", "metadata")}


def expected(options: argparse.Namespace) -> int | None:
    """The number of requests, for the progress bar; None where it is not known beforehand."""
    if options.file is None:
        return options.count or (None if _is_piped() else 1)
    path = Path(options.file)
    if options.file == "-" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) or 1


def _file_of(options: argparse.Namespace, *, piped: bool) -> TextIO | None:
    """Open the file, or standard input, that the requests are read from; None where flags make them."""
    if options.file == "-" or (options.file is None and piped):
        if sys.stdin is None:
            raise CommandError(exits.USAGE, "--file -: standard input is closed")
        return _opened(sys.stdin.fileno())
    if options.file is None:
        return None
    try:
        return _opened(options.file)
    except OSError as error:
        raise CommandError(exits.USAGE, f"--file {options.file}: {error.strerror}") from error


def _opened(file: str | int) -> TextIO:
    """Open a file so that bytes that are not UTF-8 spoil only their own line."""
    return open(file, encoding="utf-8-sig", errors="surrogateescape", closefd=isinstance(file, str))


def _is_piped() -> bool:
    """Tell whether standard input is a pipe, a file or a socket; not a terminal, /dev/null or closed."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


async def _from_flags(
    options: argparse.Namespace, payload: dict[str, Any]
) -> AsyncGenerator[InputLine, None]:
    for number in range(1, (options.count or 1) + 1):
        yield _input_line(number, "{}", options, payload)


async def _from_file(
    file: TextIO, options: argparse.Namespace, flags: dict[str, Any]
) -> AsyncGenerator[InputLine, None]:
    """Read JSON Lines, or one document on several lines. An empty pipe is one request, made of the flags."""
    lines = _lines(file, options)
    first = ""
    async for line in lines:
        first = line
        if line.strip():
            break
    if not first.strip():
        if options.file is not None:
            raise CommandError(exits.USAGE, "there is no request in the file")
        yield _input_line(1, "{}", options, flags)
        return
    if not str(options.file).endswith(_LINES_SUFFIXES) and not is_json(first):
        yield _input_line(1, first + "".join([line async for line in lines]), options, flags)
        return
    yield _input_line(1, first, options, flags)
    number = 1
    async for line in lines:
        if line.strip():
            number += 1
            yield _input_line(number, line, options, flags)


async def _from_resumable_file(
    file: TextIO, options: argparse.Namespace, flags: dict[str, Any], checkpoint: Checkpoint
) -> AsyncGenerator[InputLine, None]:
    """Read JSON Lines only. Lines that an earlier run has finished are read and passed over."""
    number = 0
    async for line in _lines(file, options):
        if not line.strip():
            continue
        number += 1
        if number == 1:
            digest = None if options.file in (None, "-") else _file_digest(Path(options.file))
            checkpoint.begin(line, digest)
        if checkpoint.is_done(number):
            continue
        input_line = _input_line(number, line, options, flags)
        request = input_line.request
        if request is not None and request.request_id is None and request.key is None:
            input_line = replace(input_line, request=replace(request, request_id=checkpoint.id_for(number)))
        yield input_line
    if not number:
        raise CommandError(exits.USAGE, "there is no request in the input")


def _file_digest(path: Path) -> str | None:
    return digest_of(path) if path.is_file() else None


def _input_line(number: int, text: str, options: argparse.Namespace, flags: dict[str, Any]) -> InputLine:
    try:
        return InputLine(number, request_in(text, options, flags))
    except ValueError as error:
        return InputLine(number, None, str(error))


async def _lines(file: TextIO, options: argparse.Namespace) -> AsyncGenerator[str, None]:
    """Yield the lines of a file or a pipe. A daemon thread reads them, so the end of the program waits for no
    read.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def read() -> None:
        try:
            with file:
                for item in chain(file, [None]):
                    for _ in range(_cost(item)):
                        room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, item)
        except (OSError, ValueError) as error:
            loop.call_soon_threadsafe(queue.put_nowait, error)
        except RuntimeError:
            pass  # the loop has ended: nobody needs the rest

    threading.Thread(target=read, daemon=True, name="lines").start()
    hint = loop.call_later(_HINT_SECONDS, _say_what_is_read, options.file)
    while (item := await queue.get()) is not None:
        hint.cancel()
        room.release(_cost(item))
        if isinstance(item, Exception):
            raise CommandError(exits.USAGE, f"the input cannot be read: {item}")
        yield item
    hint.cancel()


def _say_what_is_read(file: str | None) -> None:
    if file in (None, "-"):
        say("reading requests from standard input (</dev/null if there are none) …")


def _cost(item: object) -> int:
    """The part of the room for lines read ahead that this one takes."""
    return min(_AHEAD, 1 + len(item) // _UNIT) if isinstance(item, str) else 1
