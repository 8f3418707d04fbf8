"""Refuses what is wrong with a message, so that whoever waits for an answer gets one."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from schemas import FailureCode, field_errors, session_id
from schemas.readable import shortened
from worker.messages.canonical import canonical_of_refused
from worker.messages.envelope import Message
from worker.messages.request_ids import id_made_up, uuid_of
from worker.messages.sealing import SealKeys
from worker.values import Arrival, Cancellation, Refusal, Route, Unreadable, Unrecorded

LONGEST_REASON = 400
_MOST_NAMED = 3  # fields, in the reason of a dead letter
_BODY = "(body)"
_NOT_VALID = "the request is not valid"


class Incoming(NamedTuple):
    """A message that is being decoded, and the ways to refuse it."""

    message: Message
    route: Route
    keys: SealKeys
    now: datetime

    @property
    def fallback_id(self) -> UUID | None:
        """The request id when none can be found in the body."""
        return uuid_of(self.message.properties.correlation_id)

    def refused(
        self,
        request_id: UUID | None,
        refusal: Refusal,
        document: dict[str, Any] | None = None,
        content: str | None = None,
    ) -> Arrival | Cancellation | Unreadable:
        """Refuses it under this id; the refusal goes on record, as every outcome of a request does.
        `content`: its canonical form, where that is known; else it is made from the document.
        """
        if self.message.is_cancel:
            reason = f"nothing was cancelled: {refusal.reason}"
            return self.refused_cancellation(request_id, refusal._replace(reason=reason))
        request_id = request_id or self.fallback_id
        if request_id is None:
            return self.unreadable(refusal)
        dropped = self.message.dropped
        raw = dropped.digest if dropped else self.message.body.decode("latin-1")
        content = content or (canonical_of_refused(document) if document else None) or raw
        return Arrival(
            request_id=request_id,
            # Nobody has looked for credentials in it: it may hold some.
            fingerprint=self.keys.fingerprint(content, has_secrets=bool(self.keys)),
            session_id=session_id(request_id, self.now.date()),
            org_id=None,
            user_id=None,
            body=None,
            document=None,
            request=None,
            refusal=refusal._replace(reason=shortened(refusal.reason, LONGEST_REASON)),
            deadline_at=None,
            route=self.route,
            contents=tuple(dict.fromkeys((content, raw))),
        )

    def refused_cancellation(self, request_id: UUID | None, refusal: Refusal) -> Cancellation | Unreadable:
        """Tells the sender of the cancellation and nobody else: the request itself is as it was."""
        request_id = request_id or self.fallback_id
        if request_id is None:
            return self.unreadable(refusal)
        if self.route.reply_to is None:
            reason = f"{_with_fields(refusal)}; and it names no reply queue"
            return Unreadable(reason, field=_first_field(refusal))
        return Cancellation(request_id=request_id, reason=None, route=self.route, invalid=refusal)

    def unrecorded(self, request_id: UUID, refusal: Refusal) -> Unrecorded:
        """Refuses it for a property: the same request may come again under its id, with that mended."""
        return Unrecorded(request_id=request_id, refusal=refusal, route=self.route)

    def unreadable(self, refusal: Refusal) -> Unreadable:
        """Makes it a dead letter. A sender who waits at a reply queue is answered there, under an id that is
        made up for it.
        """
        reason = f"{_with_fields(refusal)}; and no request id was found in it"
        field = _first_field(refusal)
        if self.route.reply_to is None:
            return Unreadable(reason, field=field)
        missing = _error("request_id", "was not found: that of this answer is made from the message")
        answered = refusal._replace(reason=reason, errors=[*(refusal.errors or []), missing])
        return Unreadable(reason, self.unrecorded(id_made_up(self.message.body), answered), field)


def invalid_fields(error: ValidationError, reason: str = _NOT_VALID) -> Refusal:
    """Makes a refusal of what the schemas found to be wrong."""
    return Refusal(code=FailureCode.INVALID_REQUEST, reason=reason, errors=field_errors(error))


def invalid_field(field: str, reason: str) -> Refusal:
    """Makes a refusal for one field, in the words of the schemas' own errors."""
    return Refusal(code=FailureCode.INVALID_REQUEST, reason=_NOT_VALID, errors=[_error(field, reason)])


def invalid_property(name: str, reason: str) -> Refusal:
    """Makes a refusal for a property of the message, which says the same in its reason and its errors."""
    return Refusal(code=FailureCode.INVALID_REQUEST, reason=reason, errors=[_error(name, reason)])


def invalid_body(reason: str) -> Refusal:
    """Makes a refusal for the body as a whole."""
    return invalid_property(_BODY, reason)


def _error(field: str, reason: str) -> dict[str, str]:
    return {"field": field, "reason": reason}


def _errors(refusal: Refusal) -> list[dict[str, str]]:
    """Sorts what is wrong: with the request's id before all."""
    return sorted(refusal.errors or [], key=lambda error: error["field"] != "request_id")


def _first_field(refusal: Refusal) -> str | None:
    errors = _errors(refusal)
    return errors[0]["field"] if errors else None


def _with_fields(refusal: Refusal) -> str:
    """Adds the first of the fields to the reason that they are wrong for."""
    named = [
        f"{error['field']} {error['reason']}"
        for error in _errors(refusal)
        if error["reason"] not in refusal.reason
    ]
    which = f": {', '.join(named[:_MOST_NAMED])}" if named else ""
    return shortened(refusal.reason + which, LONGEST_REASON)
