"""Bodies that are larger than allowed: looked through piece by piece as they come, and not kept."""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

from schemas.request import is_blank_id
from worker.messages.request_ids import ID_IN_TEXT, MOST_IDS

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OPENS, _CLOSES = (b"{", b"["), (b"}", b"]")
_OVERLAP = 1024  # of two pieces: an id may begin in one and end in the next
# A body without an id is wanted whole, for the dead letters. No message is larger on RabbitMQ 4; one that
# only 3.10 takes is not kept.
_LONGEST_KEPT = 16 << 20


class Dropped(NamedTuple):
    """What is known of a body that was not kept."""

    size: int
    request_id: UUID | None
    digest: str  # tells a repeated message from another


class _Depth:
    """How deep in objects and arrays a JSON text is, which comes in pieces that may end anywhere."""

    def __init__(self) -> None:
        self.level = 0
        self._open = b""  # of a string that has not ended: its quote, and a backslash if that was last

    def pass_by(self, text: bytes) -> None:
        text = self._open + text
        escape = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
        text = text.removesuffix(escape)
        bare = _STRING.sub(b"", text)
        self.level += sum(map(bare.count, _OPENS)) - sum(map(bare.count, _CLOSES))
        # A quote more ends a string that is open, and what follows it is none of it.
        is_open = len(_STRING.sub(b"", text + b'".')) > len(bare)
        self._open = b'"' + escape if is_open else b""


class Sieve:
    """Takes such a body in pieces. Once it has seen a request id it keeps nothing but that: of several, the
    first in the outermost object, or else the first.
    """

    def __init__(self) -> None:
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._first: UUID | None = None
        self._outermost: UUID | None = None
        self._looked_at = 0
        self._depth = _Depth()  # where the tail begins
        self._tail = b""
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._digest.update(piece)
        if self._outermost is None and self._looked_at < MOST_IDS:
            self._look(self._tail + piece)
        self._pieces.append(piece)
        if self._first or self._size > _LONGEST_KEPT:
            self._pieces.clear()

    def _look(self, text: bytes) -> None:
        passed = behind = 0
        for match in ID_IN_TEXT.finditer(text):
            request_id = UUID(match[1].decode())
            if is_blank_id(request_id):
                continue
            self._first = self._first or request_id
            self._looked_at += 1
            self._depth.pass_by(text[passed : match.start()])
            passed, behind = match.span()
            if self._depth.level == 1:
                self._outermost = request_id
            if self._outermost or self._looked_at == MOST_IDS:
                return
        rest = max(behind, len(text) - _OVERLAP)
        self._depth.pass_by(text[passed:rest])
        self._tail = text[rest:]

    def end(self) -> tuple[bytes, Dropped | None]:
        """The body where it is needed whole, else what is known of it."""
        request_id = self._outermost or self._first
        if request_id is None and self._size <= _LONGEST_KEPT:
            return b"".join(self._pieces), None
        return b"", Dropped(self._size, request_id, self._digest.hexdigest())


class Whole:
    """Takes a body in pieces, and keeps it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> tuple[bytes, Dropped | None]:
        return b"".join(self._pieces), None


Body = Sieve | Whole
