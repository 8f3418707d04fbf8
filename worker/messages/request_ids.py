"""Finds the request id of a message that is not a valid request."""

import re
from hashlib import blake2b
from uuid import UUID

from schemas.request import is_blank_id
from worker.messages.json_body import without_strings

_UUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_WHOLE_UUID = re.compile(_UUID)
ID_IN_TEXT = re.compile(rf'"request_?[iI]d"\s*:\s*"({_UUID})"'.encode())
MOST_IDS = 8  # that are looked at in one text


def uuid_of(value: object) -> UUID | None:
    """Reads a UUID of 36 characters; None for another spelling, and for the nil or the max UUID."""
    if not isinstance(value, str) or not _WHOLE_UUID.fullmatch(value):
        return None
    found = UUID(value)
    return None if is_blank_id(found) else found


def id_of(document: object) -> UUID | None:
    """Finds the id in a document that is not a valid request."""
    if not isinstance(document, dict):
        return None
    return uuid_of(document.get("request_id", document.get("requestId")))


def id_in_text(body: bytes) -> UUID | None:
    """Finds the id in a body that cannot be read: of several, the first in the outermost object, or else the
    first.
    """
    found: list[UUID] = []
    depth, looked_at = 0, 0
    for match in ID_IN_TEXT.finditer(body):
        request_id = uuid_of(match[1].decode())
        if request_id is None:
            continue
        found.append(request_id)
        if len(found) == MOST_IDS:
            break
        between = without_strings(body[looked_at : match.start()].decode("latin-1"))
        depth += between.count("{") + between.count("[") - between.count("}") - between.count("]")
        looked_at = match.start()
        if depth == 1:
            return request_id
    return found[0] if found else None


def id_made_up(body: bytes) -> UUID:
    """Makes up an id for the answer to a message that has none: the same for the same bytes."""
    return UUID(bytes=blake2b(body, digest_size=16, person=b"no request id").digest(), version=5)
