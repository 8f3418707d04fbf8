"""What a request says, in the one form that is compared when its id comes again; and where that id stands."""

import re
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from schemas import CreateSessionRequest
from schemas.request import is_blank_id
from worker.messages.json_body import compact, without_strings
from worker.messages.large_bodies import ID_IN_TEXT

_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}")
_MOST_LOOKED_AT = 8
_TIMESTAMP = "timestamp"
_MAY_BE_NULL = {"user_id", "userId", "metadata"}


def canonical(request: CreateSessionRequest, rest: dict[str, Any], payload: dict[str, Any], text: str) -> str:
    """The content of a valid request. A null where null means nothing, and an empty `metadata`, are left out:
    an absent field says the same. `rest` and `payload` are its parts as they came, `text` the text of both.
    """
    if ":null" not in text and '"metadata":{}' not in text:
        return text
    return compact(_without_empty(rest)) + compact(_without_absent(request.payload, payload))


def canonical_of_refused(document: dict[str, Any]) -> str | None:
    """The content of a request that is not valid; None if it has no canonical form."""
    kept = {key: value for key, value in document.items() if key != _TIMESTAMP}
    try:
        return compact(_without_empty(kept))
    except (UnicodeEncodeError, ValueError, RecursionError):
        return None


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in members.items()
        if key not in _MAY_BE_NULL or not (value is None or (key == "metadata" and value == {}))
    }


def _without_absent(model: BaseModel, dumped: dict[str, Any]) -> dict[str, Any]:
    """A model's fields without those that are null and would be so if they were absent. What the model does
    not know, and what is free-form, is data: a null in it stays.
    """
    kept = dict(dumped)
    for name, field in type(model).model_fields.items():
        key = field.serialization_alias or name
        if key not in dumped:
            continue
        value = getattr(model, name)
        if value is not None:
            kept[key] = _inside(value, dumped[key])
        elif field.default is None:
            del kept[key]
    return kept


def _inside(value: Any, dumped: Any) -> Any:  # noqa: ANN401 — any JSON
    if isinstance(value, BaseModel):
        return _without_absent(value, dumped)
    if isinstance(value, list):
        return [_inside(item, copy) for item, copy in zip(value, dumped, strict=True)]
    return dumped


def uuid_of(value: object) -> UUID | None:
    """A UUID in its form of 36 characters; other spellings, and those that nobody made, are none."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        return None
    found = UUID(value)
    return None if is_blank_id(found) else found


def id_of(document: object) -> UUID | None:
    """The id in a document that is not a valid request."""
    if not isinstance(document, dict):
        return None
    return uuid_of(document.get("request_id", document.get("requestId")))


def id_in_text(body: bytes) -> UUID | None:
    """The id in what cannot be read: of several, the first in the outermost object, or else the first."""
    found: list[UUID] = []
    depth, looked_at = 0, 0
    for match in ID_IN_TEXT.finditer(body):
        request_id = uuid_of(match[1].decode())
        if request_id is None:
            continue
        found.append(request_id)
        if len(found) == _MOST_LOOKED_AT:
            break
        between = without_strings(body[looked_at : match.start()].decode("latin-1"))
        depth += between.count("{") + between.count("[") - between.count("}") - between.count("]")
        looked_at = match.start()
        if depth == 1:
            return request_id
    return found[0] if found else None


def id_made_up(body: bytes) -> UUID:
    """An id for the answer to a message that has none: the same for the same bytes."""
    return UUID(bytes=blake2b(body, digest_size=16, person=b"no request id").digest(), version=5)
