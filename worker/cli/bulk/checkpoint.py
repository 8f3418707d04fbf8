"""Keeps what became of each line of a long list of requests, so that another run can go on.

The file has one JSON object a line and is only appended to. The first object says which list it is of; each
other one has a line's number, its request id and its outcome. A line without an id of its own gets one that
follows from the checkpoint and the line's number: it is the same request whichever run sends it. So nothing
has to be on disk before a line is sent. A run that is killed loses only notes of responses, which the next
run gets again.
"""

import fcntl
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4, uuid5

from worker.cli import exits
from worker.cli.exits import CommandError

_SYNC_SECONDS = 1.0
_VERSION = 1


class Checkpoint:
    """An open checkpoint, which one process at a time can have. It takes a bit of memory for each line."""

    def __init__(self, path: Path, *, results: Path | None, options: dict[str, Any], wait: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        """How often each outcome came up among the lines that earlier runs have finished."""
        self._path = path
        self._results = results
        self._options = _digest(json.dumps(options, sort_keys=True, default=str))
        self._final = {"completed", "failed", "not_sent"} | (set() if wait else {"submitted"})
        self._done = bytearray()
        self._header: dict[str, Any] | None = None
        self._results_end = 0
        self._synced = time.monotonic()
        self._file = self._open()
        # Only now that we have the lock: before, another run may still have written.
        self._results_size = results.stat().st_size if results is not None and results.exists() else 0
        try:
            self._read()
            self._results_file = self._open_results()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._sync()
        finally:
            os.close(self._file)
            if self._results_file is not None:
                os.close(self._results_file)

    def begin(self, first_line: str, file_digest: str | None) -> None:
        """Check, before anything is sent, that the checkpoint is of this list. A new one notes its list."""
        header = {
            "checkpoint": _VERSION,
            "namespace": str(uuid4()),
            "first_line": _digest(first_line.strip()),
            "file": file_digest,
            "options": self._options,
            "results": str(self._results) if self._results else None,
        }
        if self._header is None:
            self._header = header
            self._append(header)
            os.fsync(self._file)
            return
        whole = self._header["file"] is not None and file_digest is not None
        key = "file" if whole else "first_line"
        if self._header[key] != header[key]:
            raise self._wrong(
                f"is of another input{', or its file has changed since' if whole else ''}: "
                "give each list of requests a checkpoint of its own"
            )
        if self._header["options"] != header["options"]:
            raise self._wrong("was made with other options for the requests (such as --org-id or --name)")

    def is_done(self, number: int) -> bool:
        index = number >> 3
        return index < len(self._done) and bool(self._done[index] & 1 << (number & 7))

    def id_for(self, number: int) -> UUID:
        """The request id of a line that has none of its own, the same in every run."""
        assert self._header is not None  # noqa: S101 — `begin` comes first
        return uuid5(UUID(self._header["namespace"]), str(number))

    def note(self, number: int, request_id: UUID | None, outcome: str, code: str, result: bytes) -> None:
        """Note what became of a line, after its result has been written to the file of results."""
        record: dict[str, Any] = {
            "line": number,
            "request_id": request_id and str(request_id),
            "outcome": outcome,
        }
        if code:
            record["code"] = code
        if self._results_file is not None and outcome in self._final:
            with written(f"--results {self._results}"):
                _write(self._results_file, result + b"\n")
            self._results_end += len(result) + 1
            record["results_end"] = self._results_end
        self._append(record)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()
            self._synced = time.monotonic()

    def _sync(self) -> None:
        if self._results_file is not None:
            with written(f"--results {self._results}"):
                os.fsync(self._results_file)
        with written(f"--checkpoint {self._path}"):
            os.fsync(self._file)

    def _append(self, record: dict[str, Any]) -> None:
        with written(f"--checkpoint {self._path}"):
            _write(self._file, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def _open(self) -> int:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise CommandError(exits.USAGE, f"--checkpoint {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise self._wrong("is in use by another run") from error
        return file

    def _read(self) -> None:
        whole = 0
        for line in self._lines():
            try:
                torn = not line.endswith(b"\n")
                record = {} if torn else json.loads(line)
                if torn or record.get("results_end", 0) > self._results_size:
                    # The last run was killed while it wrote this line, or its machine stopped before the
                    # result was on disk. What follows was written later, and is not there either.
                    os.ftruncate(self._file, whole)
                    return
                self._take(record)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._wrong(
                    f"is no checkpoint: byte {whole} begins a line that is none of one"
                ) from None
            whole += len(line)

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            yield from file

    def _take(self, record: dict[str, Any]) -> None:
        if self._header is None:
            if record["checkpoint"] != _VERSION or not UUID(record["namespace"]):
                raise ValueError
            self._header = record
            return
        number, outcome = int(record["line"]), str(record["outcome"])
        if outcome not in self._final or self.is_done(number):
            return
        index = number >> 3
        if index >= len(self._done):
            self._done.extend(bytes(index + 1024 - len(self._done)))
        self._done[index] |= 1 << (number & 7)
        self.outcomes[record.get("code") or outcome] += 1
        self._results_end = record.get("results_end", self._results_end)

    def _open_results(self) -> int | None:
        """Open the file of results. What a killed run wrote there and did not note is cut off, so that each
        result is in the file once.
        """
        if self._header is not None and self._header["results"] != (self._results and str(self._results)):
            other = self._header["results"] or "none"
            raise self._wrong(f"has another file of results ({other}): give the same --results")
        if self._results is None:
            return None
        try:
            file = os.open(self._results, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise CommandError(exits.USAGE, f"--results {self._results}: {error.strerror}") from error
        size = os.fstat(file).st_size
        if self._header is None and size:
            os.close(file)
            raise CommandError(
                exits.USAGE, f"--results {self._results}: is there already, and is not of this checkpoint"
            )
        if size > self._results_end:
            os.ftruncate(file, self._results_end)
        return file

    def _wrong(self, problem: str) -> CommandError:
        return CommandError(exits.USAGE, f"the checkpoint {self._path} {problem}")


def digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextmanager
def written(option: str) -> Generator[None, None, None]:
    """End the run with an error that names the option when its file cannot be written, say on a full disk."""
    try:
        yield
    except OSError as error:
        raise CommandError(exits.FAILED, f"{option}: cannot be written: {error.strerror}") from error


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
