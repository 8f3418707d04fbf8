"""Makes what is stored of a dead letter, and makes a message of it again."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from aio_pika.abc import HeadersType
from pamqp import commands as spec

from schemas.readable import printable, shortened
from schemas.secret import is_secret_name
from worker.messages.envelope import Message, property_text
from worker.messages.json_body import Malformed, parse
from worker.messages.refusing import LONGEST_REASON
from worker.messages.request_ids import id_in_text
from worker.messages.sealing import SealKeys

_KEPT_PROPERTIES = (
    "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "message_id", "timestamp",
    "message_type", "app_id",
)  # fmt: skip
# What the broker and the worker noted on the way here. A message that is sent again goes without.
_NOTES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count", "x-original-")
_REASONS = ("x-reason", "x-code", "x-failed-at", "x-worker", "x-version")
_COUNTS = ("x-delivery-count", "x-acquired-count")
_NOWHERE = "; and no request id was found in it"
_SHAPE_BYTES = 65_536  # a longer body is not looked at: reading it would take time from the requests
_ID_BYTES = 1 << 20
_MOST_NAMES = 12  # members of an object, in the shape of a body
_LONGEST_KIND = 300
_NUMBER = re.compile(r"\d+")
_PLACE = b"dead letter"  # what the sealed body is bound to, beside the id


class Letter(NamedTuple):
    """A dead letter as it is stored."""

    id: UUID
    body: bytes
    sealed_by: str | None
    size: int
    properties: str  # JSON, as the headers are
    headers: str
    reason: str
    kind: str
    message_id: str | None
    app_id: str | None
    user_id: str | None
    exchange: str | None
    routing_key: str | None
    request_id: UUID | None
    died_at: datetime


_NOT_STORABLE: Final[dict[str, Any]] = {
    "properties": "{}", "headers": "{}", "reason": "its properties cannot be stored", "kind": "not storable",
    "message_id": None, "app_id": None, "user_id": None, "exchange": None, "routing_key": None,
    "request_id": None,
}  # fmt: skip


def letter_of(message: Message, keys: SealKeys, now: datetime) -> Letter:
    """Make what is stored of a delivery. A header whose name is that of a credential is left out."""
    properties, body = message.properties, message.body
    given = {name: getattr(properties, name) for name in _KEPT_PROPERTIES}
    named = {name: value for name, value in given.items() if value is not None}
    headers = {name: value for name, value in (properties.headers or {}).items() if name not in _COUNTS}
    whole = json.dumps([_members(named), _members(headers)], sort_keys=True)
    digest = hashlib.sha256(len(whole).to_bytes(8) + whole.encode() + body)
    reason = _reason(headers)
    return undescribed(body, keys, now, digest.digest())._replace(
        properties=json.dumps(_members(named)),
        headers=json.dumps(
            _members({name: value for name, value in headers.items() if not is_secret_name(name)})
        ),
        reason=reason,
        kind=_kind(reason, body),
        message_id=property_text(properties.message_id),
        app_id=property_text(headers["x-original-app-id"])
        if "x-original-app-id" in headers
        else property_text(properties.app_id),
        user_id=property_text(properties.user_id or headers.get("x-original-user-id")),
        exchange=property_text(headers.get("x-original-exchange", headers.get("x-first-death-exchange"))),
        routing_key=property_text(headers.get("x-original-routing-key", _first_key(headers))),
        request_id=id_in_text(body[:_ID_BYTES]),
        died_at=_moment(headers.get("x-failed-at")) or now,
    )


def undescribed(body: bytes, keys: SealKeys, now: datetime, digest: bytes | None = None) -> Letter:
    """Make what is stored of a body that nobody has looked at. Of equal digests one is stored."""
    letter_id = UUID(bytes=(digest or hashlib.sha256(body).digest())[:16], version=5)
    sealed_by, kept = keys.seal_bytes(body, letter_id.bytes + _PLACE)
    return Letter(id=letter_id, body=kept, sealed_by=sealed_by, size=len(body), died_at=now, **_NOT_STORABLE)


def bare(letter: Letter) -> Letter:
    """Strip a letter that Postgres refuses of all that came from outside, but for its body."""
    return letter._replace(**_NOT_STORABLE)


def open_body(body: bytes, sealed_by: str | None, letter_id: UUID, keys: SealKeys) -> bytes:
    """Open the body of a letter; raises SealError if its key is not there."""
    return keys.open_bytes(body, sealed_by, letter_id.bytes + _PLACE)


def reseal_body(body: bytes, letter_id: UUID, keys: SealKeys, *, old: str, new: str) -> bytes:
    """Seal the body of a letter anew, that the old key has sealed."""
    return keys.seal_bytes(open_body(body, old, letter_id, keys), letter_id.bytes + _PLACE, new)[1]


def message_to_send(
    letter_id: UUID,
    body: bytes,
    properties: Mapping[str, Any],
    headers: Mapping[str, Any],
    sender: str | None = None,
) -> Message:
    """Make the message that is sent again, from what is stored: without the notes about its death, and
    without its expiration, which has passed. `sender`: the user of the broker who sends it now.
    """
    kept: HeadersType = {
        name: _from_json(value)
        for name, value in headers.items()
        if name not in _REASONS and not name.startswith(_NOTES)
    }
    own = {name: _from_json(value) for name, value in properties.items()}
    if "x-original-message-id" in headers:  # the worker's dead letter: these were the producer's
        own["message_id"] = headers["x-original-message-id"] or own.get("message_id")
        own["app_id"] = headers.get("x-original-app-id") or None
    own["message_id"] = own.get("message_id") or str(letter_id)
    made = spec.Basic.Properties(**own, user_id=sender, delivery_mode=2, headers=kept or None)
    return Message(body=body, properties=made, taken_by_broker=None)


def shape(body: bytes) -> str:
    """Say in a few words what a body looks like. It repeats no value of it."""
    if not body.strip():
        return "empty"
    if body.startswith(b"\x1f\x8b"):
        return "gzip"
    if len(body) > _SHAPE_BYTES:
        return "large"
    try:
        names = list(parse(body))
    except Malformed as error:
        if isinstance(error.document, dict):
            names = list(error.document)
        else:
            return _shape_of_text(body)
    more = ", …" if len(names) > _MOST_NAMES else ""
    return "has " + ", ".join(map(printable, sorted(names)[:_MOST_NAMES])) + more if names else "has nothing"


def _shape_of_text(body: bytes) -> str:
    try:
        text = body.decode().lstrip()
    except UnicodeDecodeError:
        return "bytes"
    if not text:  # white space beyond that of ASCII
        return "empty"
    return {"<": "like XML", "{": "like JSON", "[": "like JSON"}.get(text[0], "text")


def _reason(headers: Mapping[str, Any]) -> str:
    if reason := property_text(headers.get("x-reason")):
        return shortened(reason, LONGEST_REASON)
    if why := property_text(headers.get("x-first-death-reason")):
        queue = property_text(headers.get("x-first-death-queue")) or "a queue"
        return shortened(f"the broker took it from {queue}: {why}", LONGEST_REASON)
    return "nothing says why"


def _kind(reason: str, body: bytes) -> str:
    general = _NUMBER.sub("N", reason.removesuffix(_NOWHERE))
    text = f"{general} ({shape(body)})"
    return shortened(text.encode("utf-8", "replace").decode().replace("\x00", ""), _LONGEST_KIND)


def _first_key(headers: Mapping[str, Any]) -> object:
    """Find the routing key with which a message came to the first queue that the broker took it from."""
    try:
        return headers["x-death"][-1]["routing-keys"][0]
    except (KeyError, IndexError, TypeError):
        return None


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _as_json(value: Any) -> Any:  # noqa: ANN401, PLR0911 — any value of a table of AMQP
    """Write what JSON does not know as an object with one member, whose name says what it is."""
    match value:
        case None | bool() | int() | float():
            return value if value == value and abs(value or 0) != float("inf") else str(value)  # noqa: PLR0124 — not a number
        case str():
            return _storable(value)
        case bytes() | bytearray():
            return {"(bytes)": base64.b64encode(value).decode()}
        case datetime():
            return {"(time)": value.isoformat()}
        case Decimal():
            return {"(decimal)": str(value)}
        case Mapping():
            members = _members(value)
            return {"(table)": members} if any(name.startswith("(") for name in members) else members
        case list() | tuple():
            return [_as_json(item) for item in value]
        case _:
            return _storable(str(value))


def _members(table: Mapping[Any, Any]) -> dict[str, Any]:
    return {_storable(str(name)): _as_json(item) for name, item in table.items()}


def _from_json(value: Any) -> Any:  # noqa: ANN401, PLR0911 — as above
    match value:
        case {"(bytes)": str(text), **rest} if not rest:
            return bytearray(base64.b64decode(text))  # the client library writes no bytes
        case {"(time)": str(text), **rest} if not rest:
            return datetime.fromisoformat(text)
        case {"(decimal)": str(text), **rest} if not rest:
            return Decimal(text)
        case {"(table)": dict(table), **rest} if not rest:
            return {name: _from_json(item) for name, item in table.items()}
        case dict():
            return {name: _from_json(item) for name, item in value.items()}
        case list():
            return [_from_json(item) for item in value]
        case _:
            return value


def _storable(text: str) -> str:
    """Leave out what Postgres cannot hold."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
