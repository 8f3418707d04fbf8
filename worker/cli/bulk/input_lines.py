"""What `request` sends: from flags, from a file or from a pipe, one at a time however many there are."""

import argparse
import asyncio
import json
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from worker.cli import exits
from worker.cli.bulk.checkpoint import Journal, digest_of
from worker.cli.exits import CommandError
from worker.cli.output import say
from worker.client import Request

_AHEAD = 1000  # lines of up to `_UNIT` characters read before they are asked for; of longer ones fewer
_UNIT = 8192
_PAYLOAD_FLAGS = ("name", "status", "expiration_seconds", "assistant_id", "phone_number_id", "casefile_id")
_SPELLINGS = {"requestId": "request_id", "orgId": "org_id", "userId": "user_id"}
_FIELDS = {"request_id", "org_id", "user_id", "operation", "payload", "timestamp", "metadata", "key"}
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_HINT_SECONDS = 2.0


@dataclass(frozen=True)
class Document:
    """One request of many, or what is wrong with it. Numbered from one."""

    number: int
    request: Request | None
    problem: str = ""


def from_options(
    options: argparse.Namespace, journal: Journal | None = None
) -> AsyncGenerator[Document, None]:
    """The documents that the command line names, without those that the journal has done with."""
    payload = {flag: value for flag in _PAYLOAD_FLAGS if (value := getattr(options, flag)) is not None}
    if options.file == "-" or (
        options.file is None and not payload and options.count is None and _is_piped()
    ):
        if sys.stdin is None:
            raise CommandError(exits.USAGE, "--file -: standard input is closed")
        return _from_file(_opened(sys.stdin.fileno()), options, payload, journal)
    if options.file is not None:
        try:
            file = _opened(options.file)
        except OSError as error:
            raise CommandError(exits.USAGE, f"--file {options.file}: {error.strerror}") from error
        return _from_file(file, options, payload, journal)
    if journal is not None:
        raise CommandError(exits.USAGE, "--checkpoint needs a list of requests: --file, or a pipe")
    return _from_flags(options, payload)


def what_they_say(options: argparse.Namespace) -> dict[str, Any]:
    """The options that make another request of the same line."""
    return {name: getattr(options, name) for name in (*_PAYLOAD_FLAGS, "org_id", "user_id", "metadata")}


def expected(options: argparse.Namespace) -> int | None:
    """How many there will be, where that is known: for the progress bar."""
    if options.file is None:
        return options.count or (None if _is_piped() else 1)
    path = Path(options.file)
    if options.file == "-" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) or 1


def _opened(file: str | int) -> TextIO:
    """What is not UTF-8 is a problem of its line alone, and is found there."""
    return open(file, encoding="utf-8-sig", errors="surrogateescape", closefd=isinstance(file, str))


def _is_piped() -> bool:
    """Whether someone pipes requests in. A terminal, /dev/null or a closed input is no such thing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


async def _from_flags(options: argparse.Namespace, payload: dict[str, Any]) -> AsyncGenerator[Document, None]:
    for number in range(1, (options.count or 1) + 1):
        yield _document(number, "{}", options, payload)


async def _from_file(
    file: TextIO, options: argparse.Namespace, flags: dict[str, Any], journal: Journal | None = None
) -> AsyncGenerator[Document, None]:
    """JSON Lines, or one document on as many lines as it likes. An empty pipe is one made of the flags."""
    if journal is not None:
        async for document in _from_journalled(file, options, flags, journal):
            yield document
        return
    lines = _lines(file, options)
    first = ""
    async for line in lines:
        first = line
        if line.strip():
            break
    if not first.strip():
        if options.file is not None:
            raise CommandError(exits.USAGE, "there is no request in the file")
        yield _document(1, "{}", options, flags)
        return
    if not str(options.file).endswith(_LINES_SUFFIXES) and not _is_json(first):
        yield _document(1, first + "".join([line async for line in lines]), options, flags)
        return
    yield _document(1, first, options, flags)
    number = 1
    async for line in lines:
        if line.strip():
            number += 1
            yield _document(number, line, options, flags)


async def _from_journalled(
    file: TextIO, options: argparse.Namespace, flags: dict[str, Any], journal: Journal
) -> AsyncGenerator[Document, None]:
    """JSON Lines, and nothing else. A line that was done with before costs no more than its reading."""
    number = 0
    async for line in _lines(file, options):
        if not line.strip():
            continue
        number += 1
        if number == 1:
            digest = None if options.file in (None, "-") else _file_digest(Path(options.file))
            journal.begin(line, digest)
        if journal.is_done(number):
            continue
        document = _document(number, line, options, flags)
        request = document.request
        if request is not None and request.request_id is None and request.key is None:
            document = replace(document, request=replace(request, request_id=journal.id_for(number)))
        yield document
    if not number:
        raise CommandError(exits.USAGE, "there is no request in the input")


def _file_digest(path: Path) -> str | None:
    return digest_of(path) if path.is_file() else None


def _is_json(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


def _parse(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError:
        raise ValueError("is not JSON") from None


def _document(number: int, text: str, options: argparse.Namespace, flags: dict[str, Any]) -> Document:
    try:
        return Document(number, _request(_parse(text), options, flags))
    except ValueError as error:
        return Document(number, None, str(error))


def _request(document: object, options: argparse.Namespace, flags: dict[str, Any]) -> Request:
    """A whole request if it has a payload, else a payload. Flags win over what the document says."""
    document = _object(document, "is not a JSON object")
    said: dict[str, Any] = {"payload": document}
    if "payload" in document:
        said = {_SPELLINGS.get(name, name): value for name, value in document.items()}
    if unknown := sorted(said.keys() - _FIELDS):
        raise ValueError(f"has the unknown field {unknown[0]!r}")
    if said.get("operation", "create_session") != "create_session":
        raise ValueError("asks for an operation that is not create_session")
    return Request(
        org_id=str(options.org_id or said.get("org_id") or "demo"),
        user_id=options.user_id or said.get("user_id"),
        payload={**_object(said["payload"], "has a payload that is not an object"), **flags},
        request_id=options.request_id or _uuid(said.get("request_id")),
        key=options.key or _text(said.get("key"), "has a key that is not a string"),
        metadata={
            **_object(said.get("metadata") or {}, "has metadata that are not an object"),
            **(options.metadata or {}),
        },
    )


def _object(value: object, problem: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(problem)


def _text(value: object, problem: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(problem)


def _uuid(value: object) -> UUID | None:
    if value is None:
        return None
    try:
        return UUID(str(value))
    except ValueError:
        raise ValueError("has a request_id that is not a UUID") from None


async def _lines(file: TextIO, options: argparse.Namespace) -> AsyncGenerator[str, None]:
    """The lines of a file or a pipe, read in a thread that nobody has to wait for at the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def read() -> None:
        try:
            with file:
                items: Iterator[str | Exception | None] = chain(file, repeat(None, 1))
                for item in items:
                    for _ in range(_cost(item)):
                        room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, item)
        except (OSError, ValueError) as error:
            loop.call_soon_threadsafe(queue.put_nowait, error)
        except RuntimeError:
            pass  # the loop has ended: nobody wants the rest

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
    """How much of the room ahead it takes."""
    return min(_AHEAD, 1 + len(item) // _UNIT) if isinstance(item, str) else 1
