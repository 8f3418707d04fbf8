"""A request to cancel is validated, and its operation alone tells it from a request."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pamqp import commands as spec
from pydantic import ValidationError

from schemas import CancelSessionRequest, CreateSessionRequest, field_errors
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.values import Arrival, Cancellation, Route, Unreadable

ID = "6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def read(body: dict[str, Any] | bytes, **properties: Any) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    properties = {"reply_to": "replies", **properties}
    return decode(Message(raw, spec.Basic.Properties(**properties), None), Limits(2000), SealKeys({}), NOW)


@pytest.mark.parametrize("spelling", ["request_id", "requestId"])
def test_the_least_that_cancels(spelling: str) -> None:
    cancel = CancelSessionRequest.model_validate({spelling: ID, "operation": "cancel_session"})

    assert (cancel.request_id, cancel.reason) == (UUID(ID), None)
    assert json.loads(cancel.model_dump_json(exclude_none=True)) == {
        "request_id": ID, "operation": "cancel_session",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"reason": "x" * 501}, [{"field": "reason", "reason": "must have at most 500 characters"}]),
        ({"operation": "create_session"}, [{"field": "operation", "reason": "must be 'cancel_session'"}]),
        (
            {"request_id": "17"},
            [{"field": "request_id", "reason": "must be a UUID of 36 characters, 8-4-4-4-12"}],
        ),
        (
            {"request_id": "00000000-0000-0000-0000-000000000000"},
            [
                {
                    "field": "request_id",
                    "reason": "must not be the nil or the max UUID: each request has its own",
                }
            ],
        ),
        ({"payload": {}}, [{"field": "payload", "reason": "is not a known field"}]),
    ],
)  # fmt: skip
def test_what_is_no_cancellation(changes: dict[str, Any], errors: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationError) as raised:
        CancelSessionRequest.model_validate({"request_id": ID, "operation": "cancel_session", **changes})

    assert field_errors(raised.value) == errors


def test_the_operation_tells_the_two_apart() -> None:
    with pytest.raises(ValidationError):
        CreateSessionRequest.model_validate({"request_id": ID, "org_id": "o", "operation": "cancel_session"})
    cancel = {"request_id": ID, "operation": "cancel_session", "reason": "late"}

    for kind in ("CreateSessionRequest", "CancelSessionRequest", None):
        assert read(cancel, message_type=kind, correlation_id="c") == Cancellation(
            UUID(ID), "late", Route("replies", "c", None)
        )
        request = {"request_id": ID, "org_id": "o", "operation": "create_session", "payload": {}}
        assert isinstance(read(request, message_type=kind), Arrival)


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"request_id": "' + ID.encode() + b'"' + b" " * 2000 + b"}", b"[]"],
    ids=["cut", "large", "list"],
)
def test_one_that_cannot_be_read_is_no_refused_request(body: bytes) -> None:
    """A refused request becomes a row; this one must leave the request's row as it is."""
    found = read(body, message_type="CancelSessionRequest", correlation_id=ID)

    assert isinstance(found, Cancellation)
    assert found.invalid is not None
    assert found.invalid.reason.startswith("nothing was cancelled: ")
    unanswerable = read(body, message_type="CancelSessionRequest", correlation_id=ID, reply_to=None)
    assert isinstance(unanswerable, Unreadable)
