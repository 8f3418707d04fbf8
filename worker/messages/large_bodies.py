"""Takes bodies piece by piece as they arrive; one that is larger than allowed is searched and not kept."""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

from schemas.request import is_blank_id
from worker.messages.request_ids import ID_IN_TEXT, MOST_IDS

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OPENS, _CLOSES = (b"{", b"["), (b"}", b"]")
_OVERLAP = 1024  # bytes that are looked at again with the next piece: an id may lie across two pieces
# A body without an id is kept whole, for the dead letters. RabbitMQ 4 takes no larger message; RabbitMQ 3.10
# does, and such a body is not kept.
_LONGEST_KEPT = 16 << 20


class Dropped(NamedTuple):
    """The facts about a body that was not kept."""

    size: int
    request_id: UUID | None
    digest: str  # tells a repeated message from another


class _Depth:
    """Counts how deep in objects and arrays a JSON text is, which comes in pieces that may end anywhere."""

    def __init__(self) -> None:
        self.level = 0
        self._open = b""  # the quote of an open string, and a backslash if that was its last byte

    def pass_by(self, text: bytes) -> None:
        text = self._open + text
        escape = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
        text = text.removesuffix(escape)
        bare = _STRING.sub(b"", text)
        self.level += sum(map(bare.count, _OPENS)) - sum(map(bare.count, _CLOSES))
        # After one more quote, a full stop is outside of all strings only if a string was open before.
        is_open = len(_STRING.sub(b"", text + b'".')) > len(bare)
        self._open = b'"' + escape if is_open else b""


class Sieve:
    """Takes a body that is too large. Once it has seen a request id it keeps that and nothing else: of
    several, the first in the outermost object, or else the first.
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
        """Returns the body if it is needed whole, else the facts about it."""
        request_id = self._outermost or self._first
        if request_id is None and self._size <= _LONGEST_KEPT:
            return b"".join(self._pieces), None
        return b"", Dropped(self._size, request_id, self._digest.hexdigest())


class Whole:
    """Takes a body of any size that is allowed, and keeps it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> tuple[bytes, Dropped | None]:
        return b"".join(self._pieces), None


Body = Sieve | Whole
