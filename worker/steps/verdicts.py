"""Makes verdicts, and the responses that tell them. Pure."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import uuid4

from schemas import CreateSessionResponse, FailureCode, RequestStatus, SessionCreatedPayload, session_id
from schemas.base import iso_text
from worker.steps.retry_rule import in_words
from worker.values import (
    Answer,
    Completed,
    Failed,
    Failure,
    NewSession,
    Refusal,
    Tried,
    Unrecorded,
    Work,
    failure_details,
)

DEFAULT_EXPIRATION_SECONDS = 86_400
LONGEST_REASON = 500
_text_of = lru_cache(maxsize=4)(iso_text)  # a batch is made at one moment: to write that takes 2 µs


def refused(work: Work, now: datetime) -> Failed | None:
    """Return the verdict on work that needs no creation: it was refused when it came, or is too late."""
    refusal = work.refusal or too_late(work, now)
    return failed(work, refusal, now) if refusal else None


def completed(work: Work, now: datetime, extra: dict[str, Any]) -> Completed:
    assert work.request is not None and work.document is not None and work.org_id is not None  # noqa: S101, PT018 — only refused work has none
    request = work.request
    if request.ignores_assistant:
        extra = {"ignored": ["assistant"], "ignored_reason": "assistant_id was given and wins", **extra}
    session = NewSession(
        id=work.session_id,
        request_id=work.request_id,
        org_id=work.org_id,
        user_id=work.user_id,
        name=request.name,
        status=request.status or "active",
        casefile_id=request.casefile_id,
        assistant_id=request.assistant_id,
        phone_number_id=request.phone_number_id,
        expiration_seconds=request.expiration_seconds or DEFAULT_EXPIRATION_SECONDS,
        created_at=now,
        document=work.document,
    )
    return Completed(work, session, _completed_response(work, request.casefile_id, _text_of(now), extra))


def _completed_response(work: Work, casefile_id: str | None, at: str, extra: dict[str, Any]) -> str:
    """Write the response. One with nothing more to say is written as the model writes it, without the model:
    that takes 6 µs, more than all else that makes a verdict. A test holds the two against each other.
    """
    if not extra:
        return (
            f'{{"request_id":"{work.request_id}","status":"completed","payload":{{'
            f'"session_id":"{work.session_id}","casefile_id":{json.dumps(casefile_id)},"created_at":"{at}"}},'
            f'"timestamp":"{at}","error":null,"metadata":{{}}}}'
        )
    return CreateSessionResponse(
        request_id=work.request_id,
        status=RequestStatus.COMPLETED,
        payload=SessionCreatedPayload(session_id=work.session_id, casefile_id=casefile_id, created_at=at),
        timestamp=at,
        metadata=extra,
    ).model_dump_json()


def failed(work: Work, refusal: Refusal, now: datetime) -> Failed:
    casefile_id = work.request.casefile_id if work.request else None
    text = failure_response(work, refusal, casefile_id, now)
    return Failed(work, refusal.code, text)


def exhausted(work: Work, why: Failure, tried: Tried, now: datetime) -> Failed:
    said = in_words(work.attempt, tried) + (f"; the last one: {why.reason}" if why.reason else "")
    verdict = failed(work, Refusal(FailureCode.ATTEMPTS_EXHAUSTED, said[:LONGEST_REASON]), now)
    return verdict._replace(failure=why)


def failure_response(
    work: Work, refusal: Refusal, casefile_id: str | None, at: datetime, *, recorded: bool = True
) -> str:
    return CreateSessionResponse(
        request_id=work.request_id,
        status=RequestStatus.FAILED,
        payload=SessionCreatedPayload(
            session_id=work.session_id, casefile_id=casefile_id, created_at=iso_text(at)
        ),
        timestamp=iso_text(at),
        error=refusal.reason,
        metadata=failure_details(refusal) | ({} if recorded else {"recorded": False}),
    ).model_dump_json()


def unrecorded_answer(told: Unrecorded) -> Answer:
    """Make an answer that is a message of its own: no record, and no session under the id that it names."""
    now, mine = datetime.now(UTC), uuid4()
    unused = session_id(mine, now.date())
    work = Work(told.request_id, attempt=0, session_id=unused, route=told.route, refusal=told.refusal)
    text = failure_response(work, told.refusal, None, now, recorded=False)
    return failed_answer(work, told.refusal, text, f"{told.request_id}.{mine.hex}")


def failed_answer(work: Work, refusal: Refusal, text: str, message_id: str) -> Answer:
    """Make an answer with a message id of its own: it is not the stored response of a request."""
    return Answer(
        request_id=work.request_id,
        status="failed",
        code=refusal.code.value,
        body=text,
        message_id=message_id,
        route=work.route,
    )


def too_late(work: Work, now: datetime) -> Refusal | None:
    if work.deadline_at is None or now < work.deadline_at:
        return None
    return Refusal(
        FailureCode.DEADLINE_EXCEEDED,
        f"the deadline {work.deadline_at.isoformat()} passed before the session was made",
    )
