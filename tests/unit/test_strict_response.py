"""The strict document accepts every response that the worker makes, and none that it never makes."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from jsonschema_rs import Draft202012Validator
from pamqp import commands as spec

from schemas import CreateSessionResponse, FailureCode, json_schemas
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.steps.verdicts import completed, failure_response
from worker.values import Arrival, Refusal, Work

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
ON_THE_SECOND = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ERRORS = [{"field": "payload.name", "reason": "must be a string"}]
Document = dict[str, Any]


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json_schemas()[f"{name}.schema.json"], validate_formats=True)


def _is_valid(response: Document, name: str = "create-session-response.strict") -> bool:
    return _validator(name).is_valid(response)


def _work(payload: Document) -> Work:
    sent = {"request_id": str(ID), "org_id": "org-1", "operation": "create_session", "payload": payload}
    message = Message(json.dumps(sent).encode(), spec.Basic.Properties(), None)
    arrival = decode(message, Limits(1000), SealKeys({}), ON_THE_SECOND)
    assert isinstance(arrival, Arrival)
    return Work(
        request_id=ID, attempt=1, session_id=arrival.session_id, org_id=arrival.org_id, user_id=None,
        document=arrival.document, request=arrival.request, refusal=None, deadline_at=None,
        route=arrival.route,
    )  # fmt: skip


def _completed(payload: Document | None = None, at: datetime = ON_THE_SECOND) -> Document:
    made: Document = json.loads(completed(_work(payload or {}), at, {"room": "r-1"}).response)
    return made


def _failed(code: FailureCode, at: datetime = ON_THE_SECOND, *, recorded: bool = True) -> Document:
    errors = ERRORS if code is FailureCode.INVALID_REQUEST else None
    refusal = Refusal(code, "a sentence", errors)
    made: Document = json.loads(failure_response(_work({}), refusal, "cf_260102_abc", at, recorded=recorded))
    return made


@pytest.mark.parametrize("at", [ON_THE_SECOND, ON_THE_SECOND + timedelta(microseconds=120_000)])
def test_what_the_worker_makes_is_valid(at: datetime) -> None:
    made = [_completed({}, at), _completed({"casefile_id": "cf_260102_abc123", "assistant_id": "a"}, at)]
    made += [_failed(code, at, recorded=recorded) for code in FailureCode for recorded in (True, False)]

    for response in made:
        assert _is_valid(response), response
        assert _is_valid(response, "create-session-response"), response


def test_a_time_has_six_digits_on_the_second_too() -> None:
    for response in (_completed(), _failed(FailureCode.REJECTED)):
        assert (
            response["timestamp"] == response["payload"]["created_at"] == "2026-01-02T03:04:05.000000+00:00"
        )
    created = {"session_id": "s", "created_at": "t"}
    made = CreateSessionResponse.model_validate({"request_id": ID, "status": "completed", "payload": created})
    assert len(made.timestamp) == len("2026-01-02T03:04:05.000000+00:00")


def test_an_invalid_request_is_told_what_is_wrong_also_if_no_field_is() -> None:
    """A version that left the list out may have refused and stored such a request."""
    refusal = Refusal(FailureCode.INVALID_REQUEST, "the body is not JSON")
    response = json.loads(failure_response(_work({}), refusal, None, ON_THE_SECOND))

    assert response["metadata"]["errors"] == [{"field": "(body)", "reason": "the body is not JSON"}]
    assert _is_valid(response)


def _changed(response: Document, path: str, value: object) -> Document:
    *parents, last = path.split(".")
    found = response
    for name in parents:
        found = found[name]
    if value is ...:
        del found[last]
    else:
        found[last] = value
    return response


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((path, ...) for path in ("request_id", "status", "payload", "timestamp", "error", "metadata")),
        *((f"payload.{name}", ...) for name in ("session_id", "casefile_id", "created_at")),
        ("status", "pending"),
        ("status", "completed"),
        ("error", None),
        ("request_id", str(ID).upper()),
        ("payload.session_id", "ts_261301_abc"),
        ("payload.session_id", "17"),
        ("payload.casefile_id", "17"),
        ("payload.created_at", "2026-01-02T03:04:05+00:00"),
        ("timestamp", "2026-01-02T03:04:05.000000Z"),
        ("metadata.code", "unheard_of"),
        ("metadata.code", ...),
        ("metadata.errors", ...),
        ("metadata.errors", []),
        ("metadata.errors", [{"field": "payload"}]),
        ("metadata.recorded", True),
    ],
)
def test_what_the_worker_never_makes_is_not_valid(path: str, value: object) -> None:
    assert not _is_valid(_changed(_failed(FailureCode.INVALID_REQUEST), path, value))


@pytest.mark.parametrize(("path", "value"), [("error", "why"), ("status", "failed"), ("metadata", None)])
def test_nor_is_a_completed_one_with_an_error(path: str, value: object) -> None:
    assert not _is_valid(_changed(_completed(), path, value))


def test_what_a_later_version_may_add_is_valid() -> None:
    assert _is_valid({**_completed(), "attempts": 2})
    assert _is_valid(_changed(_failed(FailureCode.REJECTED), "metadata.help", "a link"))
