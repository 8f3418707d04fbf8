"""The values that pass between the steps of a batch.

They are named tuples: frozen, and the cheapest to make, since each request makes several.
"""

import gc
import pickle
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Self
from uuid import UUID

from schemas import CreateSessionRequest, FailureCode
from worker.rules import WaitReason

ID_LENGTH = 36  # of a UUID as text
Path = Literal["direct", "waited", "retried", "recovered"]


class Beginning(NamedTuple):
    """The time at which a request was asked for, in seconds since 1970, and the way that its answer takes:

    - direct: from the first attempt, by the worker that accepted it
    - waited: from the first attempt, after it stood in the line of its organisation
    - retried: from an attempt that was put off before
    - recovered: from an attempt that another worker's end made necessary, or from the record
    """

    at: float
    path: Path


class Route(NamedTuple):
    """The address of a response, and the properties that tie it to its request."""

    reply_to: str | None
    correlation_id: str | None
    traceparent: str | None


class Refusal(NamedTuple):
    """A verdict reached before any work: why this request fails."""

    code: FailureCode
    reason: str
    errors: list[dict[str, str]] | None = None
    told: Mapping[str, Any] = {}  # what else the response says of it, for programs


class Requested(NamedTuple):
    """The parts of a request that its session is made from; and the whole of it, for a handler."""

    name: str | None
    status: str | None
    casefile_id: str | None
    assistant_id: str | None
    phone_number_id: str | None
    expiration_seconds: float | None
    timestamp: str | None
    ignores_assistant: bool  # an `assistant_id` wins over an inline assistant
    given: CreateSessionRequest | bytes  # pickled when another process has read it: to unpack it takes time

    @classmethod
    def of(cls, request: CreateSessionRequest) -> Self:
        payload = request.payload
        return cls(
            name=payload.name,
            status=payload.status,
            casefile_id=payload.casefile_id,
            assistant_id=payload.assistant_id,
            phone_number_id=payload.phone_number_id,
            expiration_seconds=payload.expiration_seconds,
            timestamp=request.timestamp,
            ignores_assistant=payload.assistant_id is not None and payload.assistant is not None,
            given=request,
        )

    def whole(self) -> CreateSessionRequest:
        """Return the request itself. A packed one is unpacked: call this in a thread then."""
        return _unpacked(self.given) if isinstance(self.given, bytes) else self.given

    def packed(self) -> Self:
        """Return the same, for another process."""
        return self._replace(given=pickle.dumps(self.whole(), pickle.HIGHEST_PROTOCOL))


class Arrival(NamedTuple):
    """A request as it arrived, ready to be accepted."""

    request_id: UUID
    fingerprint: bytes
    session_id: str
    route: Route
    org_id: str | None = None
    user_id: str | None = None
    body: str | None = None  # the text that is stored: canonical, secrets sealed; None when refused
    document: str | None = None  # the part of it that the session keeps
    request: Requested | None = None
    refusal: Refusal | None = None
    deadline_at: datetime | None = None
    not_before: datetime | None = None  # it may not begin earlier; None when it may begin now
    contents: tuple[
        str, ...
    ] = ()  # what else its fingerprint may have been made from: another key, an older form
    since: Beginning | None = None
    exposed: tuple[str, ...] = ()  # paths of what looks like a credential and is stored as it is


class Waiting(NamedTuple):
    """A request that may not begin yet, and why."""

    arrival: Arrival
    reason: WaitReason


class Unrecorded(NamedTuple):
    """A refusal that is answered and not recorded: the id stays free for the corrected request."""

    request_id: UUID
    refusal: Refusal
    route: Route


class Unreadable(NamedTuple):
    """A message that becomes a dead letter: no request id can be found in it, or it is no request. `told`:
    the answer to a requester who waits for one all the same.
    """

    reason: str
    told: Unrecorded | None = None
    field: str | None = None  # that is wrong, where it is one


class Cancellation(NamedTuple):
    """A wish to end a request. An `invalid` one is answered, and changes nothing."""

    request_id: UUID
    reason: str | None
    route: Route
    invalid: Refusal | None = None
    sender: str | None = None  # the user of the broker, where workers go by it


Read = Arrival | Cancellation | Unrecorded | Unreadable


class Failure(NamedTuple):
    """The reason why an attempt came to nothing. It holds no value that the handler was given."""

    kind: str  # raised, timeout, retry_later or worker_lost
    reason: str
    error_type: str | None = None
    place: str | None = None  # file:line function
    worker: UUID | None = None  # that made the attempt; None: the one that notes it


class Tried(NamedTuple):
    """The attempts at a request so far, counted by how they ended."""

    errors: int = 0  # the handler raised, or took too long
    put_offs: int = 0  # it raised RetryLater
    crashes: int = 0  # its worker went silent
    since: datetime | None = None  # the first of the errors: a put-off request may have waited for long

    def and_(self, kind: str, now: datetime) -> "Tried":
        """Count one attempt more."""
        error = kind in ("raised", "timeout")
        return Tried(
            errors=self.errors + error,
            put_offs=self.put_offs + (kind == "retry_later"),
            crashes=self.crashes + (kind == "worker_lost"),
            since=self.since or (now if error else None),
        )


class Work(NamedTuple):
    """A claimed request: an attempt of this worker's."""

    request_id: UUID
    attempt: int
    session_id: str
    route: Route
    org_id: str | None = None
    user_id: str | None = None
    document: str | None = None
    request: Requested | None = None
    refusal: Refusal | None = None
    deadline_at: datetime | None = None
    since: Beginning | None = None
    tried: Tried = Tried()
    span: str | None = None  # the traceparent of this attempt; None: nobody records it


def first_work(arrival: Arrival) -> Work:
    """The first attempt at a request that was accepted just now."""
    return Work(
        request_id=arrival.request_id,
        attempt=1,
        session_id=arrival.session_id,
        route=arrival.route,
        org_id=arrival.org_id,
        user_id=arrival.user_id,
        document=arrival.document,
        request=arrival.request,
        refusal=arrival.refusal,
        deadline_at=arrival.deadline_at,
        since=arrival.since,
    )


class NewSession(NamedTuple):
    """A row of `sessions`."""

    id: str
    request_id: UUID
    org_id: str
    user_id: str | None
    name: str | None
    status: str
    casefile_id: str | None
    assistant_id: str | None
    phone_number_id: str | None
    expiration_seconds: float
    created_at: datetime
    document: str


class Completed(NamedTuple):
    work: Work
    session: NewSession
    response: str


class Failed(NamedTuple):
    work: Work
    code: FailureCode
    response: str
    failure: Failure | None = None  # of the attempt that was the last


class PutOff(NamedTuple):
    work: Work
    delay_seconds: float
    reason: str
    failure: Failure | None = None  # None: no attempt was spent


Verdict = Completed | Failed | PutOff


class Duplicate(NamedTuple):
    """A request that is on record already. It is answered again if it is finished, else left to its owner."""

    request_id: UUID
    answer: "Answer | None"


class Answer(NamedTuple):
    """A response on its way out."""

    request_id: UUID
    status: str
    code: str | None
    body: str
    message_id: str
    route: Route
    since: Beginning | None = None  # None: it is not the first answer, so it is not timed
    lease: int | None = None  # of the batch that its request is in, where that is known

    @property
    def on_record(self) -> bool:
        """Whether this is the stored response of the request, whose message id is the request's. The others
        have something behind that, as the answer to a conflict, which is stored nowhere.
        """
        return len(self.message_id) == ID_LENGTH  # to write the id costs ten times as much as to compare


class Receipt(StrEnum):
    """The broker's answer to one publish."""

    CONFIRMED = "confirmed"
    UNROUTABLE = "unroutable"
    REFUSED = "refused"
    UNPUBLISHABLE = "unpublishable"


def failure_details(refusal: Refusal) -> dict[str, Any]:
    """Make the `metadata` of a failed response."""
    details: dict[str, Any] = {"code": refusal.code.value}
    errors = refusal.errors
    if not errors and refusal.code is FailureCode.INVALID_REQUEST:
        errors = [{"field": "(body)", "reason": refusal.reason}]
    if errors:
        details["errors"] = errors
    return {**details, **refusal.told}


def _unpacked(data: bytes) -> CreateSessionRequest:
    """Unpack it. Other threads run between two objects, which they could not while JSON is read. The garbage
    collector would look through all new objects in one piece: it must find none.
    """
    gc.disable()
    try:
        request: CreateSessionRequest = pickle.loads(data)  # noqa: S301 — this program wrote it
        gc.freeze()
        gc.unfreeze()  # the two together make all objects old, without looking at them
    finally:
        gc.enable()
    return request
