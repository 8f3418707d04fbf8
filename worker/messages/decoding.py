"""Decodes messages and stored bodies: the only place that knows both the properties and the schemas."""

import json
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from schemas import CancelSessionRequest, CreateSessionPayload, CreateSessionRequest, FailureCode, session_id
from schemas.readable import LONGEST_PATH, printable, shortened
from schemas.request import STORED
from schemas.secret import may_hold_secrets
from schemas.wire import RESPONSE_TYPE
from worker.errors import SealError
from worker.messages.admitting import of_its_sender, without_way_back
from worker.messages.canonical import canonical
from worker.messages.envelope import Message, property_text, route_of
from worker.messages.exposed import exposed_paths
from worker.messages.json_body import Malformed, compact, parse, parse_loosely
from worker.messages.moments import Misread, deadline, not_before
from worker.messages.refusing import Incoming, invalid_body, invalid_field, invalid_fields, invalid_property
from worker.messages.reply_rule import ReplyRule
from worker.messages.request_ids import id_in_text, id_of
from worker.messages.sealing import MAX_SECRETS, SealKeys, Secrets, look_for_secrets
from worker.values import Arrival, Cancellation, Read, Refusal, Requested, Route, Unreadable
from worker.whose import OrgsOfUsers

_A_RESPONSE = "it is a response, not a request: answering it would answer its requester once more, wrongly"
_NAMES = CreateSessionRequest.model_fields.keys()
_NAMES_OF_VALUES = CreateSessionPayload.model_fields.keys() - {
    "assistant", "messages", "customer", "phone_number",
}  # fmt: skip
_TEXT_ENCODINGS = {"", "identity", "utf8", "ascii", "usascii", "binary", "8bit", "7bit"}


class Limits(NamedTuple):
    """What a message may have, where its answer may go, and for whom its sender may act."""

    max_body_bytes: int
    replies: ReplyRule = ReplyRule()
    orgs: OrgsOfUsers | None = None  # None: whoever may publish may act for all


def decode(message: Message, limits: Limits, keys: SealKeys, now: datetime) -> Read:
    """Decodes a message: into a request that is ready to be accepted or is refused, into a cancellation, or
    into what cannot be answered.
    """
    if message.properties.message_type == RESPONSE_TYPE:
        return Unreadable(_A_RESPONSE)
    route, astray = _way_back(message, limits)
    read = _decode(Incoming(message, route, keys, now), limits)
    if message.taken_by_broker == "expired" and isinstance(read, Arrival) and not read.refusal:
        refusal = Refusal(
            code=FailureCode.DEADLINE_EXCEEDED, reason="the message expired before a worker could take it"
        )
        read = read._replace(refusal=refusal, body=None, document=None, not_before=None)
    return read if astray is None and limits.orgs is None else _admitted(read, message, limits, astray)


def refuse_killer(message: Message, limits: Limits, keys: SealKeys, now: datetime) -> Read:
    """Refuses a message that ends whatever process reads it; its body is only searched for the id."""
    route, astray = _way_back(message, limits)
    refusal = Refusal(
        code=FailureCode.ATTEMPTS_EXHAUSTED,
        reason="reading this message ended the process that read it, each time it was tried",
    )
    read = Incoming(message, route, keys, now).refused(id_in_text(message.body), refusal)
    return _admitted(read, message, limits, astray)


def _way_back(message: Message, limits: Limits) -> tuple[Route, str | None]:
    """Reads where the answer goes, and why it may not go where it was asked to."""
    route = route_of(message.properties)
    why = limits.replies.refuses(route.reply_to) if route.reply_to else None
    return (route if why is None else route._replace(reply_to=None)), why


def _admitted(read: Read, message: Message, limits: Limits, astray: str | None) -> Read:
    if astray is not None:
        return without_way_back(read, astray)
    if limits.orgs is None:
        return read
    return of_its_sender(read, property_text(message.properties.user_id), limits.orgs)


def restore(body: str, request_id: UUID, keys: SealKeys) -> tuple[Requested, str]:
    """Restores the request and its session's document from a stored body."""
    stored = json.loads(body)
    sealed = stored["payload"]
    if may_hold_secrets(body):
        stored["payload"] = keys.open_document(sealed, request_id)
    request = CreateSessionRequest.model_validate({**stored, "request_id": str(request_id)}, context=STORED)
    requested = Requested.of(request)
    return requested, _document(requested, sealed, compact(sealed))


def _decode(incoming: Incoming, limits: Limits) -> Read:
    body, dropped = incoming.message.body, incoming.message.dropped
    size = dropped.size if dropped else len(body)
    if size > limits.max_body_bytes:
        reason = f"the message has {size} bytes, more than the {limits.max_body_bytes} allowed"
        request_id = dropped.request_id if dropped else id_in_text(body)
        return incoming.refused(request_id, Refusal(code=FailureCode.TOO_LARGE, reason=reason))
    try:
        document = parse(body)
    except Malformed as error:
        return _malformed(incoming, error)
    return _of_document(incoming, document)


def _malformed(incoming: Incoming, error: Malformed) -> Read:
    """Refuses a body that is not parsed: for the encoding that it is said to have, or for what it is."""
    body = incoming.message.body
    document = error.document or parse_loosely(body)
    request_id = id_of(document) if isinstance(document, dict) else id_in_text(body)
    encoding = incoming.message.properties.content_encoding or ""
    if encoding.lower().replace("-", "").replace("_", "") not in _TEXT_ENCODINGS:
        reason = "the content_encoding is not supported: send the body as plain UTF-8 JSON"
        refusal = invalid_property("content_encoding", reason)
        request_id = request_id or incoming.fallback_id
        if request_id and not incoming.message.is_cancel:
            return incoming.unrecorded(request_id, refusal)
    else:
        refusal = invalid_body(str(error))
    return incoming.refused(request_id, refusal, document if isinstance(document, dict) else None)


def _of_document(incoming: Incoming, document: dict[str, Any]) -> Read:
    if is_response(document):
        return Unreadable(_A_RESPONSE)
    if document.get("operation") == "cancel_session":
        return _cancellation(incoming, document)
    try:
        request = CreateSessionRequest.model_validate(document)
    except ValidationError as error:
        return incoming.refused(id_of(document), invalid_fields(error), document)
    plain = _plain(request, document)
    del document  # the request holds what is needed of it
    try:
        deadline_at = deadline(incoming.message.properties, incoming.now)
        begins_at = not_before(incoming.message.properties, deadline_at, incoming.now)
    except Misread as error:
        return incoming.unrecorded(request.request_id, invalid_property(error.field, str(error)))
    return _accepted(incoming, request, plain, deadline_at, begins_at)


def _plain(request: CreateSessionRequest, document: dict[str, Any]) -> dict[str, Any]:
    """Return the request as JSON in its canonical names, without its id. That is the document itself if it
    has these names and no object in which they may have others: most are so, and a dump takes 4 µs.
    """
    if document.keys() <= _NAMES and document["payload"].keys() <= _NAMES_OF_VALUES:
        del document["request_id"]
        return document
    return request.model_dump(mode="json", exclude_unset=True, exclude={"request_id"})


def is_response(document: dict[str, Any]) -> bool:
    """Tells whether a worker once sent this as an answer. No request, however wrong, looks like that."""
    payload = document.get("payload")
    return (
        "operation" not in document
        and document.get("status") in ("completed", "failed")
        and isinstance(payload, dict)
        and "session_id" in payload
    )


def _cancellation(incoming: Incoming, document: dict[str, Any]) -> Read:
    try:
        request = CancelSessionRequest.model_validate(document)
    except ValidationError as error:
        refusal = invalid_fields(error, "nothing was cancelled: the cancellation is not valid")
        return incoming.refused_cancellation(id_of(document), refusal)
    return Cancellation(request_id=request.request_id, reason=request.reason or None, route=incoming.route)


def _accepted(
    incoming: Incoming,
    request: CreateSessionRequest,
    rest: dict[str, Any],
    deadline_at: datetime | None,
    begins_at: datetime | None,
) -> Read:
    request_id, keys = request.request_id, incoming.keys
    stamp = rest.pop("timestamp", None)
    payload = rest.pop("payload")
    try:
        payload_text, rest_text = compact(payload), compact(rest)
    except (UnicodeEncodeError, ValueError):
        return incoming.refused(request_id, invalid_body("the request holds text that is not Unicode"))
    as_before = rest_text + payload_text
    content = canonical(request, rest, payload, as_before)
    contents = () if content == as_before else (as_before,)
    exposed: tuple[str, ...] = ()
    if request.metadata or request.payload.may_hold_secrets():
        exposed = exposed_paths(request.metadata, payload)
    secrets = look_for_secrets(payload) if request.payload.may_hold_secrets() else None
    if secrets:
        try:
            if refusal := _refusal_of_secrets(secrets):
                return incoming.refused(request_id, refusal, content=content)
            fingerprint = keys.fingerprint(content, has_secrets=True)
            payload = keys.seal_document(payload, request_id)
        except SealError:
            reason = (
                "the request carries credentials and this worker has no key to seal them with: "
                "set WORKER_SEAL_KEYS, or send the request without them"
            )
            refusal = Refusal(code=FailureCode.SECRETS_REFUSED, reason=reason)
            return incoming.refused(request_id, refusal, content=content)
        payload_text = compact(payload)
        contents = (content, *contents)
    else:
        fingerprint = keys.fingerprint(content, has_secrets=False)
    stamped = f',"timestamp":{json.dumps(stamp)}' if stamp is not None else ""
    requested = Requested.of(request)
    return Arrival(
        request_id=request_id,
        fingerprint=fingerprint,
        session_id=session_id(request_id, incoming.now.date()),
        org_id=request.org_id,
        user_id=request.user_id,
        body=f'{rest_text[:-1]}{stamped},"payload":{payload_text}}}',
        document=_document(requested, payload, payload_text),
        request=requested,
        refusal=None,
        deadline_at=deadline_at,
        not_before=begins_at,
        route=incoming.route,
        contents=contents,
        exposed=exposed,
    )


def _document(requested: Requested, payload: dict[str, Any], payload_text: str) -> str:
    """Makes the text that the session keeps of a payload."""
    if not requested.ignores_assistant:
        return payload_text
    return compact({name: value for name, value in payload.items() if name != "assistant"})


def _refusal_of_secrets(secrets: Secrets) -> Refusal | None:
    if secrets.sealed_at is not None:
        reason = "has the form of a sealed credential, which only a worker writes: send the credential itself"
        place = shortened(".".join(map(printable, secrets.sealed_at.split("."))), LONGEST_PATH)
        return invalid_field(f"payload.{place}", reason)
    if secrets.number > MAX_SECRETS:
        reason = f"holds {secrets.number} credentials and header values, at most {MAX_SECRETS} may be there"
        return invalid_field("payload", reason)
    return None
