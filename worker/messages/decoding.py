"""Between AMQP messages and values: the only place that knows both the properties and the schemas."""

import json
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pamqp import commands as spec
from pydantic import ValidationError

from schemas import CancelSessionRequest, CreateSessionRequest, FailureCode, field_errors, session_id
from schemas.readable import LONGEST_PATH, printable, shortened
from schemas.request import STORED
from schemas.secret import may_hold_secrets
from schemas.wire import CANCEL_TYPE, LONGEST_TEXT, RESPONSE_TYPE
from worker.errors import SealError
from worker.messages.deadline import Misread, deadline
from worker.messages.json_body import Malformed, compact, parse, parse_loosely
from worker.messages.large_bodies import Dropped
from worker.messages.origin import text
from worker.messages.request_ids import (
    canonical,
    canonical_of_refused,
    id_in_text,
    id_made_up,
    id_of,
    uuid_of,
)
from worker.messages.sealing import SealKeys, look_for_secrets
from worker.values import (
    Arrival,
    Cancellation,
    Read,
    Refusal,
    Requested,
    Route,
    Unreadable,
    Unrecorded,
)

CANCELLED = b"cancelled:"  # the fingerprint of a request that was cancelled before it came
_A_RESPONSE = "it is a response, not a request: answering it would answer its requester once more, wrongly"
MAX_SECRETS = 5_000
_BODY = "(body)"
_MOST_NAMED = 3  # fields, in the reason of a dead letter
LONGEST_REASON = 400
_TEXT_ENCODINGS = {"", "identity", "utf8", "ascii", "usascii", "binary", "8bit", "7bit"}


class Message(NamedTuple):
    """A delivered message, as much of it as matters here."""

    body: bytes
    properties: spec.Basic.Properties
    taken_by_broker: str | None  # why the broker took it from the request queue, if it did
    sent_to_cancel: bool = False  # with the routing key of cancellations
    delivery_count: int = 0  # how often it came back before: three times, and it may be what kills its reader
    exchange: str = ""  # where it was published to
    routing_key: str = ""
    dropped: Dropped | None = None  # a body that was too large to be kept


class Limits(NamedTuple):
    max_body_bytes: int


def decode(message: Message, limits: Limits, keys: SealKeys, now: datetime) -> Read:
    """A delivered message as a request ready to be accepted, a refused one, a cancellation, or unreadable."""
    if message.properties.message_type == RESPONSE_TYPE:
        return Unreadable(_A_RESPONSE)
    read = _decode(_Case(message, _route(message.properties), keys, now), limits)
    if message.taken_by_broker != "expired" or not isinstance(read, Arrival) or read.refusal:
        return read
    refusal = Refusal(FailureCode.DEADLINE_EXCEEDED, "the message expired before a worker could take it")
    return read._replace(refusal=refusal, body=None, document=None)


def killed(message: Message, keys: SealKeys, now: datetime) -> Read:
    """Refuse a message that ends whatever process reads it; it is not looked into again."""
    case = _Case(message, _route(message.properties), keys, now)
    reason = "reading this message ended the process that read it, each time it was tried"
    refusal = Refusal(FailureCode.ATTEMPTS_EXHAUSTED, reason)
    return _refused(case, id_in_text(message.body), refusal)


class _Case(NamedTuple):
    """A message under the eyes of its reader."""

    message: Message
    route: Route
    keys: SealKeys
    now: datetime

    @property
    def fallback(self) -> UUID | None:
        return uuid_of(self.message.properties.correlation_id)


def _decode(case: _Case, limits: Limits) -> Read:
    body, dropped = case.message.body, case.message.dropped
    size = dropped.size if dropped else len(body)
    if size > limits.max_body_bytes:
        reason = f"the message has {size} bytes, more than the {limits.max_body_bytes} allowed"
        request_id = dropped.request_id if dropped else id_in_text(body)
        return _refused(case, request_id, Refusal(FailureCode.TOO_LARGE, reason))
    try:
        document = parse(body)
    except Malformed as error:
        return _malformed(case, error)
    return _of_document(case, document)


def _of_document(case: _Case, document: dict[str, Any]) -> Read:
    if _is_response(document):
        return Unreadable(_A_RESPONSE)
    if document.get("operation") == "cancel_session":
        return _cancellation(case, document)
    try:
        request = CreateSessionRequest.model_validate(document)
    except ValidationError as error:
        refusal = Refusal(FailureCode.INVALID_REQUEST, "the request is not valid", field_errors(error))
        return _refused(case, id_of(document), refusal, document)
    del document  # the request holds what is needed of it
    try:
        deadline_at = _deadline(case)
    except Misread as error:
        return Unrecorded(request.request_id, _invalid(error.field, str(error)), case.route)
    return _accepted(case, request, deadline_at)


def restore(body: str, request_id: UUID, keys: SealKeys) -> tuple[Requested, str]:
    """The request and its session's document from a stored body."""
    stored = json.loads(body)
    sealed = stored["payload"]
    if may_hold_secrets(body):
        stored["payload"] = keys.open_document(sealed, request_id)
    request = CreateSessionRequest.model_validate({**stored, "request_id": str(request_id)}, context=STORED)
    requested = Requested.of(request)
    return requested, _document(requested, sealed, compact(sealed))


def is_same_request(arrival: Arrival, stored: bytes, keys: SealKeys) -> bool:
    """Whether a known request id came again with the same content, or was cancelled before it came."""
    if stored in (arrival.fingerprint, CANCELLED):
        return True
    has_secrets = not stored.startswith(b"plain:")  # plain: also of a time when there were no keys
    if has_secrets and not keys:
        return False
    key = stored.partition(b":")[0].decode() if has_secrets else None
    return any(
        keys.fingerprint(content, has_secrets=has_secrets, key=key) == stored for content in arrival.contents
    )


def _accepted(case: _Case, request: CreateSessionRequest, deadline_at: datetime | None) -> Read:
    request_id, keys = request.request_id, case.keys
    rest = request.model_dump(mode="json", exclude_unset=True, exclude={"request_id"})
    stamp = rest.pop("timestamp", None)
    payload = rest.pop("payload")
    try:
        payload_text, rest_text = compact(payload), compact(rest)
    except (UnicodeEncodeError, ValueError):
        return _refused(case, request_id, _invalid(_BODY, "the request holds text that is not Unicode"))
    as_before = rest_text + payload_text
    content = canonical(request, rest, payload, as_before)
    contents = () if content == as_before else (as_before,)
    secrets = look_for_secrets(payload) if request.payload.may_hold_secrets() else None
    if secrets:
        try:
            if refusal := _no_good_secrets(secrets.number, secrets.sealed_at):
                return _refused(case, request_id, refusal)
            fingerprint = keys.fingerprint(content, has_secrets=True)
            payload = keys.seal_document(payload, request_id)
        except SealError:
            reason = (
                "the request carries credentials and this worker has no key to seal them with: "
                "set WORKER_SEAL_KEYS, or send the request without them"
            )
            return _refused(case, request_id, Refusal(FailureCode.SECRETS_REFUSED, reason))
        payload_text = compact(payload)
        contents = (content, *contents)
    else:
        fingerprint = keys.fingerprint(content, has_secrets=False)
    stamped = f',"timestamp":{json.dumps(stamp)}' if stamp is not None else ""
    requested = Requested.of(request)
    return Arrival(
        request_id=request_id,
        fingerprint=fingerprint,
        session_id=session_id(request_id, case.now.date()),
        org_id=request.org_id,
        user_id=request.user_id,
        body=f'{rest_text[:-1]}{stamped},"payload":{payload_text}}}',
        document=_document(requested, payload, payload_text),
        request=requested,
        refusal=None,
        deadline_at=deadline_at,
        route=case.route,
        contents=contents,
    )


def _document(requested: Requested, payload: dict[str, Any], payload_text: str) -> str:
    """What the session keeps of a payload."""
    if not requested.ignores_assistant:
        return payload_text
    return compact({name: value for name, value in payload.items() if name != "assistant"})


def _no_good_secrets(count: int, sealed_at: str | None) -> Refusal | None:
    if sealed_at is not None:
        reason = "has the form of a sealed credential, which only a worker writes: send the credential itself"
        place = shortened(".".join(map(printable, sealed_at.split("."))), LONGEST_PATH)
        return _refusal_of(f"payload.{place}", reason)
    if count > MAX_SECRETS:
        reason = f"holds {count} credentials and header values, at most {MAX_SECRETS} may be there"
        return _refusal_of("payload", reason)
    return None


def _malformed(case: _Case, error: Malformed) -> Read:
    """Refuse a body before it is looked at: for how it says that it is packed, or for what it is."""
    document = error.document or parse_loosely(case.message.body)
    request_id = id_of(document) if isinstance(document, dict) else id_in_text(case.message.body)
    encoding = case.message.properties.content_encoding or ""
    if encoding.lower().replace("-", "").replace("_", "") not in _TEXT_ENCODINGS:
        reason = "the content_encoding is not supported: send the body as plain UTF-8 JSON"
        refusal = _invalid("content_encoding", reason)
        request_id = request_id or case.fallback
        if request_id and not _is_cancel(case.message):
            return Unrecorded(request_id, refusal, case.route)
    else:
        refusal = _invalid(_BODY, str(error))
    return _refused(case, request_id, refusal, document if isinstance(document, dict) else None)


def _cancellation(case: _Case, document: dict[str, Any]) -> Read:
    try:
        request = CancelSessionRequest.model_validate(document)
    except ValidationError as error:
        reason = "nothing was cancelled: the cancellation is not valid"
        refusal = Refusal(FailureCode.INVALID_REQUEST, reason, field_errors(error))
        return _refused_cancellation(case, id_of(document), refusal)
    return Cancellation(request.request_id, request.reason or None, case.route)


def _refused_cancellation(case: _Case, request_id: UUID | None, refusal: Refusal) -> Read:
    """Told to who sent it and to nobody else: the request itself is as it was."""
    request_id = request_id or case.fallback
    if request_id is None:
        return _unreadable(case, refusal)
    if case.route.reply_to is None:
        return Unreadable(f"{_with_fields(refusal)}; and it names no reply queue")
    return Cancellation(request_id, None, case.route, refusal)


def _refused(
    case: _Case, request_id: UUID | None, refusal: Refusal, document: dict[str, Any] | None = None
) -> Read:
    if _is_cancel(case.message):
        reason = f"nothing was cancelled: {refusal.reason}"
        return _refused_cancellation(case, request_id, refusal._replace(reason=reason))
    request_id = request_id or case.fallback
    if request_id is None:
        return _unreadable(case, refusal)
    # May hold credentials where nobody looked for them.
    dropped = case.message.dropped
    raw = dropped.digest if dropped else case.message.body.decode("latin-1")
    content = (canonical_of_refused(document) if document else None) or raw
    contents = tuple(dict.fromkeys((content, raw)))
    return Arrival(
        request_id=request_id,
        fingerprint=case.keys.fingerprint(content, has_secrets=bool(case.keys)),
        session_id=session_id(request_id, case.now.date()),
        org_id=None,
        user_id=None,
        body=None,
        document=None,
        request=None,
        refusal=refusal._replace(reason=shortened(refusal.reason, LONGEST_REASON)),
        deadline_at=None,
        route=case.route,
        contents=contents,
    )


def _unreadable(case: _Case, refusal: Refusal) -> Unreadable:
    """Make it a dead letter; who waits at a reply queue is answered, under an id that is made up for it."""
    reason = f"{_with_fields(refusal)}; and no request id was found in it"
    if case.route.reply_to is None:
        return Unreadable(reason)
    missing = {"field": "request_id", "reason": "was not found: that of this answer is made from the message"}
    told = refusal._replace(reason=reason, errors=[*(refusal.errors or []), missing])
    return Unreadable(reason, Unrecorded(id_made_up(case.message.body), told, case.route))


def _with_fields(refusal: Refusal) -> str:
    """The reason and the first of the fields that it is about, the request's id before all."""
    errors = sorted(refusal.errors or [], key=lambda error: error["field"] != "request_id")
    named = [
        f"{error['field']} {error['reason']}" for error in errors if error["reason"] not in refusal.reason
    ]
    which = f": {', '.join(named[:_MOST_NAMED])}" if named else ""
    return shortened(refusal.reason + which, LONGEST_REASON)


def _refusal_of(field: str, reason: str) -> Refusal:
    """Make a refusal for one field, in the words of the schemas' own errors."""
    return Refusal(
        FailureCode.INVALID_REQUEST, "the request is not valid", [{"field": field, "reason": reason}]
    )


def _invalid(field: str, reason: str) -> Refusal:
    return Refusal(FailureCode.INVALID_REQUEST, reason, [{"field": field, "reason": reason}])


def _is_cancel(message: Message) -> bool:
    return message.properties.message_type == CANCEL_TYPE or message.sent_to_cancel


def _route(properties: spec.Basic.Properties) -> Route:
    headers = properties.headers or {}
    return Route(
        reply_to=text(properties.reply_to, LONGEST_TEXT),
        correlation_id=text(properties.correlation_id, LONGEST_TEXT),
        traceparent=text(headers.get("traceparent"), LONGEST_TEXT),
    )


def _deadline(case: _Case) -> datetime | None:
    properties = case.message.properties
    header = (properties.headers or {}).get("deadline")
    return deadline(header, properties.expiration, properties.timestamp, case.now)


def _is_response(document: dict[str, Any]) -> bool:
    """Whether this is what a worker once answered. No request, however wrong, looks like that."""
    payload = document.get("payload")
    return (
        "operation" not in document
        and document.get("status") in ("completed", "failed")
        and isinstance(payload, dict)
        and "session_id" in payload
    )
