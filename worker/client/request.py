"""Makes a message of a request, or of a cancellation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from pamqp import commands as spec

from schemas import CancelSessionRequest, CreateSessionPayload, new_request_id
from schemas.wire import CANCEL_TYPE, CONTENT_TYPE, LONGEST_TEXT, REQUEST_TYPE
from worker.rabbitmq.topology import CANCEL_KEY, REQUEST_KEY

# A broker closes the channel, and all calls on it, over a larger message.
MAX_BODY_BYTES = 16 * 1024 * 1024

REQUEST_NAMESPACE = UUID("9b1f194e-afb4-5f24-b84f-0eea5a5a2489")
"""The namespace of request ids that are derived from a key, in every language."""


def request_id_for(org_id: str, key: str) -> UUID:
    """Return the request id that a producer's own key stands for: the same key, the same request, one
    session.

    It is a UUID of version 5 in the namespace of the organisation, which is one in `REQUEST_NAMESPACE`.

    >>> request_id_for("org-1", "order-17")
    UUID('d8cd7eec-0cc9-5cf2-bdbe-870d946c27d4')
    """
    return uuid5(uuid5(REQUEST_NAMESPACE, org_id), key)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A session that is asked for. Without an id and a key each one is a new request.

    A payload that is a dict goes out as it is: what is wrong with it is for the worker to say, as it
    does for every other producer.

    No worker begins it before `not_before`, up to 366 days ahead; one in the past means now. None begins it
    after `deadline`, which has to be later than that. Both need a time zone.

    >>> Request(org_id="org-1", key="order-17").identity() == request_id_for("org-1", "order-17")
    True
    >>> Request(org_id="org-1").identity() == Request(org_id="org-1").identity()
    False
    """

    org_id: str
    payload: CreateSessionPayload | Mapping[str, Any] = field(default_factory=dict)
    user_id: str | None = None
    request_id: UUID | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    not_before: datetime | None = None
    deadline: datetime | None = None
    reply_to: str | None = None
    traceparent: str | None = None

    def identity(self) -> UUID:
        """Return the id given, or that of the key, or a new one each time."""
        if self.request_id is not None and self.key is not None:
            raise ValueError("give a request_id or a key, not both: the key is another way to say the id")
        if self.request_id is not None:
            return self.request_id
        return new_request_id() if self.key is None else request_id_for(self.org_id, self.key)


@dataclass(frozen=True)
class RequestMessage:
    """The message of a request, or of a cancellation. Sent again, it is the same, with the time at which it
    was made. Its response is found by `call`.
    """

    request_id: UUID
    body: bytes
    headers: dict[str, Any]
    reply_to: str | None
    call: str
    routing_key: str = REQUEST_KEY
    message_type: str = REQUEST_TYPE

    def properties(self, app_id: str, reply_to: str | None, user: str | None = None) -> spec.Basic.Properties:
        """Make the properties of one copy. Its message id is its own: the client library tells copies apart
        by it. `user`: the user of the broker who sends it, where workers go by that.
        """
        return spec.Basic.Properties(
            content_type=CONTENT_TYPE,
            delivery_mode=2,
            message_type=self.message_type,
            message_id=str(uuid4()),
            correlation_id=self.call,
            reply_to=reply_to or self.reply_to,
            timestamp=datetime.now(UTC),
            app_id=app_id,
            user_id=user,
            headers=self.headers or None,
        )


def message_of(request: Request) -> RequestMessage:
    request_id = request.identity()
    payload = request.payload
    document = {
        "request_id": str(request_id),
        "org_id": request.org_id,
        "user_id": request.user_id,
        "operation": "create_session",
        "payload": payload.model_dump(mode="json", exclude_unset=True)
        if isinstance(payload, CreateSessionPayload)
        else dict(payload),
        "metadata": dict(request.metadata),
        # No part of the content. From here on the worker's metrics count, so it is finer than AMQP's seconds.
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    headers = _moments(request)
    if request.traceparent is not None:
        if len(request.traceparent) > LONGEST_TEXT:
            raise ValueError(f"traceparent has more than {LONGEST_TEXT} characters")
        headers["traceparent"] = request.traceparent
    try:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError("the request is nested too deep to be written as JSON") from None
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(
            f"the request has {len(body)} bytes, more than the {MAX_BODY_BYTES} that can be sent"
        )
    return RequestMessage(request_id, body, headers, request.reply_to, str(request_id))


def _moments(request: Request) -> dict[str, Any]:
    """Make the headers that say when a request may begin and when it is too late for it."""
    begins_at, deadline = request.not_before, request.deadline
    given = {"not_before": begins_at, "deadline": deadline}
    headers = {name: _milliseconds(name, moment) for name, moment in given.items() if moment is not None}
    if begins_at and deadline and begins_at >= deadline and begins_at > datetime.now(UTC):
        raise ValueError(
            f"not_before ({begins_at.isoformat()}) is not earlier than the deadline "
            f"({deadline.isoformat()}): give a later deadline or, to a call that waits, a longer timeout"
        )
    return headers


def _milliseconds(name: str, moment: datetime) -> int:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} has no time zone: give it one, as datetime.now(UTC) has")
    return int(moment.timestamp() * 1000)


def cancellation(request_id: UUID, reason: str | None) -> RequestMessage:
    """Make the message of a cancellation. It has no times: the request is cancelled now, or when it comes."""
    cancel = CancelSessionRequest(request_id=request_id, operation="cancel_session", reason=reason)
    body = cancel.model_dump_json(exclude_none=True).encode()
    return RequestMessage(request_id, body, {}, None, f"cancel-{uuid4()}", CANCEL_KEY, CANCEL_TYPE)
