"""Between AMQP messages and values: the only place that knows both the properties and the schemas."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from aio_pika.abc import HeadersType
from pamqp import commands as spec
from pydantic import ValidationError

from schemas import CancelSessionRequest, CreateSessionRequest, FailureCode, field_errors, session_id
from schemas.request import STORED, is_blank_id
from schemas.secret import map_secrets, may_hold_secrets
from worker.body import Malformed, compact, parse
from worker.errors import SealError
from worker.large import Dropped, id_in_text
from worker.outcome import Answer, Arrival, Cancellation, Refusal, Route, Unreadable
from worker.seal import SealKeys

RESPONSE_TYPE = "CreateSessionResponse"
REQUEST_TYPE = "CreateSessionRequest"
CANCEL_TYPE = "CancelSessionRequest"
CANCELLED = b"cancelled:"  # the fingerprint of a request that was cancelled before it came
CONTENT_TYPE = "application/json"
APP_ID = "session-worker"
_A_RESPONSE = "it is a response, not a request: answering it would answer its requester once more, wrongly"
_EPOCH_MS = re.compile(r"-?\d{1,15}(\.\d+)?")


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


def decode(
    message: Message, limits: Limits, keys: SealKeys, now: datetime
) -> Arrival | Cancellation | Unreadable:
    """A delivered message as a request ready to be accepted, a refused one, a cancellation, or unreadable."""
    if message.properties.message_type == RESPONSE_TYPE:
        return Unreadable(_A_RESPONSE)
    arrival = _decode(message, limits, keys, now)
    if message.taken_by_broker is None or not isinstance(arrival, Arrival) or arrival.refusal:
        return arrival
    match message.taken_by_broker:
        case "expired":
            refusal = Refusal(
                FailureCode.DEADLINE_EXCEEDED, "the message expired before a worker could take it"
            )
        case "delivery_limit":
            refusal = Refusal(
                FailureCode.ATTEMPTS_EXHAUSTED,
                "the message was delivered too often without being accepted",
            )
        case _:
            return arrival
    return arrival._replace(refusal=refusal, body=None, document=None)


def _decode(
    message: Message, limits: Limits, keys: SealKeys, now: datetime
) -> Arrival | Cancellation | Unreadable:
    properties = message.properties
    fallback = _uuid_of(properties.correlation_id)
    route = _route(properties)
    size = message.dropped.size if message.dropped else len(message.body)
    if size > limits.max_body_bytes:
        reason = f"the message has {size} bytes, more than the {limits.max_body_bytes} allowed"
        found = message.dropped.request_id if message.dropped else id_in_text(message.body)
        return _refused(message, found or fallback, route, now, keys, FailureCode.TOO_LARGE, reason)
    try:
        _check_declared(properties)
        deadline_at = _deadline(properties, now)
        document = parse(message.body)
    except Malformed as error:
        request_id = id_in_text(message.body) or fallback
        return _refused(message, request_id, route, now, keys, FailureCode.INVALID_REQUEST, str(error))
    if _is_response(document):
        return Unreadable(_A_RESPONSE)
    if document.get("operation") == "cancel_session":
        return _cancellation(document, route, fallback)
    try:
        request = CreateSessionRequest.model_validate(document)
    except ValidationError as error:
        request_id = _uuid_of(document.get("request_id", document.get("requestId"))) or fallback
        return _refused(
            message, request_id, route, now, keys, FailureCode.INVALID_REQUEST,
            "the request is not valid", field_errors(error),
        )  # fmt: skip
    return _accepted(message, request, route, deadline_at, keys, now)


def restore(body: str, request_id: UUID, keys: SealKeys) -> tuple[CreateSessionRequest, str]:
    """The request and its sealed payload from a stored body."""
    stored = json.loads(body)
    document = compact(stored["payload"])
    if may_hold_secrets(document):
        stored["payload"] = keys.open_document(stored["payload"], request_id)
    request = CreateSessionRequest.model_validate({**stored, "request_id": str(request_id)}, context=STORED)
    return request, document


def is_same_request(arrival: Arrival, stored: bytes, keys: SealKeys) -> bool:
    """Whether a known request id came again with the same content, or was cancelled before it came."""
    if stored in (arrival.fingerprint, CANCELLED):
        return True
    if arrival.keyed is None:
        return False
    if stored.startswith(b"plain:"):  # of a time when there were no keys
        return keys.fingerprint(arrival.keyed, has_secrets=False) == stored
    made_with = stored.partition(b":")[0].decode()
    return keys.fingerprint(arrival.keyed, has_secrets=True, key=made_with) == stored


def response_properties(answer: Answer, now: datetime) -> spec.Basic.Properties:
    headers: HeadersType = {"traceparent": answer.route.traceparent} if answer.route.traceparent else {}
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        correlation_id=answer.route.correlation_id or str(answer.request_id),
        message_id=answer.message_id,
        timestamp=now,
        message_type=RESPONSE_TYPE,
        app_id=APP_ID,
        headers=headers or None,
    )


def dead_letter_properties(
    message: Message, reason: str, worker: str, version: str, now: datetime
) -> spec.Basic.Properties:
    """Says why the message could not be answered; nothing of its body. It can be sent again."""
    original = message.properties
    return spec.Basic.Properties(
        content_type=_storable_text(original.content_type, 255),
        delivery_mode=2,
        correlation_id=_storable_text(original.correlation_id, 255),
        reply_to=_storable_text(original.reply_to, 255),
        message_id=str(uuid4()),
        timestamp=original.timestamp or now,
        app_id=APP_ID,
        headers={
            "x-reason": reason,
            "x-code": "unreadable",
            "x-failed-at": now.isoformat(),
            "x-worker": worker,
            "x-version": version,
            "x-original-message-id": _storable_text(original.message_id, 255) or "",
        },
    )


def bare_dead_letter_properties(worker: str, version: str, now: datetime) -> spec.Basic.Properties:
    """The same for a message whose own reason or properties the broker does not take."""
    return spec.Basic.Properties(
        delivery_mode=2,
        message_id=str(uuid4()),
        timestamp=now,
        app_id=APP_ID,
        headers={
            "x-reason": "it could not be read; the broker did not take the reason or its properties",
            "x-code": "unreadable",
            "x-failed-at": now.isoformat(),
            "x-worker": worker,
            "x-version": version,
        },
    )


def _accepted(
    message: Message,
    request: CreateSessionRequest,
    route: Route,
    deadline_at: datetime | None,
    keys: SealKeys,
    now: datetime,
) -> Arrival | Cancellation | Unreadable:
    request_id = request.request_id
    document = request.model_dump(mode="json", exclude_unset=True, exclude={"request_id"})
    stamp = document.pop("timestamp", None)
    payload = document.pop("payload")
    try:
        payload_text, rest = compact(payload), compact(document)
    except (UnicodeEncodeError, ValueError):
        return _refused(
            message,
            request_id,
            route,
            now,
            keys,
            FailureCode.INVALID_REQUEST,
            "the request holds text that is not Unicode",
        )
    canonical = rest + payload_text
    keyed = None
    if request.payload.may_hold_secrets() and _holds_secrets(payload):
        keyed = canonical
        try:
            fingerprint = keys.fingerprint(canonical, has_secrets=True)
            payload_text = compact(keys.seal_document(payload, request_id))
        except SealError:
            return _refused(
                message, request_id, route, now, keys, FailureCode.SECRETS_REFUSED,
                "the request carries credentials and this worker has no key to seal them with: "
                "set WORKER_SEAL_KEYS, or send the request without them",
            )  # fmt: skip
    else:
        fingerprint = keys.fingerprint(canonical, has_secrets=False)
    stamped = f',"timestamp":{json.dumps(stamp)}' if stamp is not None else ""
    return Arrival(
        request_id=request_id,
        fingerprint=fingerprint,
        session_id=session_id(request_id, now.date()),
        org_id=request.org_id,
        user_id=request.user_id,
        body=f'{rest[:-1]}{stamped},"payload":{payload_text}}}',
        document=payload_text,
        request=request,
        refusal=None,
        deadline_at=deadline_at,
        route=route,
        keyed=keyed,
    )


def _cancellation(document: dict[str, Any], route: Route, fallback: UUID | None) -> Cancellation | Unreadable:
    try:
        request = CancelSessionRequest.model_validate(document)
    except ValidationError as error:
        request_id = _uuid_of(document.get("request_id", document.get("requestId"))) or fallback
        refusal = Refusal(
            FailureCode.INVALID_REQUEST, "nothing was cancelled: the cancellation is not valid",
            field_errors(error),
        )  # fmt: skip
        return _refused_cancellation(request_id, route, refusal)
    return Cancellation(request.request_id, request.reason or None, route)


def _refused_cancellation(
    request_id: UUID | None, route: Route, refusal: Refusal
) -> Cancellation | Unreadable:
    """Told to who sent it and to nobody else: the request itself is as it was."""
    if request_id is None or route.reply_to is None:
        missing = "no request id was found in it" if request_id is None else "it names no reply queue"
        return Unreadable(f"{refusal.reason}; and {missing}")
    return Cancellation(request_id, None, route, refusal)


def _refused(
    message: Message,
    request_id: UUID | None,
    route: Route,
    now: datetime,
    keys: SealKeys,
    code: FailureCode,
    reason: str,
    errors: list[dict[str, str]] | None = None,
) -> Arrival | Cancellation | Unreadable:
    if message.properties.message_type == CANCEL_TYPE or message.sent_to_cancel:
        refusal = Refusal(code, f"nothing was cancelled: {reason}", errors)
        return _refused_cancellation(request_id, _route(message.properties), refusal)
    if request_id is None:
        return Unreadable(f"{reason}; and no request id was found in it")
    # May hold credentials where nobody looked for them.
    body = message.dropped.digest if message.dropped else message.body.decode("latin-1")
    return Arrival(
        request_id=request_id,
        fingerprint=keys.fingerprint(body, has_secrets=bool(keys)),
        session_id=session_id(request_id, now.date()),
        org_id=None,
        user_id=None,
        body=None,
        document=None,
        request=None,
        refusal=Refusal(code, reason, errors),
        deadline_at=None,
        route=route,
        keyed=body if keys else None,
    )


def _check_declared(properties: spec.Basic.Properties) -> None:
    """What the properties say of the body must be what a worker can read."""
    if properties.content_encoding not in (None, "", "identity", "utf-8", "UTF-8"):
        raise Malformed("the content_encoding is not supported: send the body as plain UTF-8 JSON")
    kind = (properties.content_type or CONTENT_TYPE).partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE and not kind.endswith("+json"):
        raise Malformed(f"the content_type is not supported: it must be {CONTENT_TYPE}")


def _route(properties: spec.Basic.Properties) -> Route:
    headers = properties.headers or {}
    return Route(
        reply_to=_storable_text(properties.reply_to, 255),
        correlation_id=_storable_text(properties.correlation_id, 255),
        traceparent=_storable_text(headers.get("traceparent"), 255),
    )


def _storable_text(value: object, longest: int) -> str | None:
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        return None
    return value.replace("\x00", "").encode("utf-8", "replace").decode()[:longest]


def _deadline(properties: spec.Basic.Properties, now: datetime) -> datetime | None:
    """The earlier of the `deadline` header and the message's expiration."""
    candidates = []
    header = (properties.headers or {}).get("deadline")
    if header is not None:
        candidates.append(_moment(header))
    if properties.expiration:
        sent = properties.timestamp or now
        sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)
        try:
            candidates.append(min(sent, now) + timedelta(milliseconds=int(properties.expiration)))
        except (ValueError, OverflowError):
            raise Malformed("the expiration is not a number of milliseconds") from None
    return min(candidates, default=None)


def _moment(value: object) -> datetime:
    """ISO 8601, or milliseconds since 1970 as a number or its digits."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("ascii", "replace")
    try:
        if isinstance(value, str) and not _EPOCH_MS.fullmatch(value.strip()):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            # Not where it is stored: at the edge of the calendar another zone's time is none in UTC.
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float | str):
            return datetime.fromtimestamp(float(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Malformed("the header `deadline` is neither ISO 8601 nor milliseconds since 1970")


def _uuid_of(value: object) -> UUID | None:
    if not isinstance(value, str) or len(value) not in (32, 36):
        return None
    try:
        found = UUID(value)
    except ValueError:
        return None
    return None if is_blank_id(found) else found


def _is_response(document: dict[str, Any]) -> bool:
    """Whether this is what a worker once answered. No request, however wrong, looks like that."""
    payload = document.get("payload")
    return (
        "operation" not in document
        and document.get("status") in ("completed", "failed")
        and isinstance(payload, dict)
        and "session_id" in payload
    )


def _holds_secrets(payload: dict[str, Any]) -> bool:
    found = False

    def note(_path: str, value: Any) -> Any:  # noqa: ANN401 — any JSON
        nonlocal found
        found = True
        return value

    map_secrets(payload, note)
    return found
