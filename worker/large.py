"""Bodies that are larger than allowed: looked through piece by piece as they come, and not kept."""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID

from schemas.request import is_blank_id

_ID_IN_TEXT = re.compile(rb'"request_?[iI]d"\s*:\s*"([0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"')
_OVERLAP = 1024  # of two pieces: an id may begin in one and end in the next
# A body without an id is wanted whole, for the dead letters. No message is larger on RabbitMQ 4; one that
# only 3.10 takes is not kept.
_LONGEST_KEPT = 16 << 20


class Dropped(NamedTuple):
    """What is known of a body that was not kept."""

    size: int
    request_id: UUID | None
    digest: str  # tells a repeated message from another


def id_in_text(text: bytes | bytearray) -> UUID | None:
    """The request id of a body that is not read as JSON."""
    found = _ID_IN_TEXT.search(text)
    request_id = UUID(found[1].decode()) if found else None
    return None if request_id is None or is_blank_id(request_id) else request_id


class Sieve:
    """Takes such a body in pieces. Once it has seen the request id it keeps nothing but that."""

    def __init__(self) -> None:
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._request_id: UUID | None = None
        self._tail = b""
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._digest.update(piece)
        if self._request_id is None:
            text = self._tail + piece
            self._request_id = id_in_text(text)
            self._tail = text[-_OVERLAP:]
            self._pieces.append(piece)
        if self._request_id or self._size > _LONGEST_KEPT:
            self._pieces.clear()

    def end(self) -> tuple[bytes, Dropped | None]:
        """The body where it is needed whole, else what is known of it."""
        if self._request_id is None and self._size <= _LONGEST_KEPT:
            return b"".join(self._pieces), None
        return b"", Dropped(self._size, self._request_id, self._digest.hexdigest())


class Whole:
    """Takes a body in pieces, and keeps it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> tuple[bytes, Dropped | None]:
        return b"".join(self._pieces), None


Body = Sieve | Whole
