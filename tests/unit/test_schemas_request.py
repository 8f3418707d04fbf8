"""The fields around a request's payload are validated, and a session has the right times."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from schemas import CreateSessionPayload, CreateSessionRequest, Session, field_errors
from schemas.request import STORED


def fields_in_error(model: type[BaseModel], document: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return [item["field"] for item in field_errors(caught.value)]


SESSION = {
    "id": "i",
    "org_id": "o",
    "created_at": "2025-10-13T14:30:00Z",
    "updated_at": "2024-02-29t23:59:59.123456789+05:30",
}


def test_moments_of_a_session() -> None:
    assert Session.model_validate(SESSION).model_dump(exclude_unset=True) == SESSION


@pytest.mark.parametrize(
    "moment",
    [
        "2025-02-29T00:00:00Z",
        "2025-10-13T14:30:00",
        "2025-10-13",
        "25-10-13T14:30:00Z",
        "2025-10-13T24:30:00Z",
        "now",
        "",
        1760365800,
        "2025-W42-1T14:30:00Z",
    ],
)
def test_other_moments(moment: object) -> None:
    for field in ("created_at", "updated_at"):
        assert fields_in_error(Session, {**SESSION, field: moment}) == [field]
    tokens = {"provider": "ghl.oauth2-authorization", "authentication_session": {"expires_at": moment}}
    assert fields_in_error(CreateSessionPayload, {"assistant": {"credentials": [tokens]}}) == [
        "assistant.credentials.0.authentication_session.expires_at"
    ]


REQUEST: dict[str, Any] = {
    "request_id": "3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001",
    "org_id": "o",
    "operation": "create_session",
    "payload": {},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "3F0F8A52-3B0E-4A0E-9D3C-0A6F5A4BE001"},
        {"org_id": "x" * 255},
        {"user_id": "x" * 255},
        {"user_id": None},
        {"timestamp": "2025-10-13T14:30:00"},
        {"timestamp": "2025-10-13T14:30:00.5+02:00"},
        {"timestamp": None},
        {"metadata": {"aKey": {"b_c": 1}}},
        {"metadata": None},
    ],
)
def test_requests(changes: dict[str, Any]) -> None:
    accepted = CreateSessionRequest.model_validate({**REQUEST, **changes})
    assert accepted.request_id.hex == REQUEST["request_id"].replace("-", "")
    dumped = accepted.model_dump(mode="json", exclude_unset=True)
    assert dumped == {**REQUEST, **changes, "request_id": REQUEST["request_id"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "not-a-uuid"),
        ("request_id", "3f0f8a523b0e4a0e9d3c0a6f5a4be001"),
        ("request_id", "{3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001}"),
        ("request_id", "urn:uuid:3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001"),
        ("request_id", "00000000-0000-0000-0000-000000000000"),
        ("request_id", "FFFFFFFF-ffff-FFFF-ffff-ffffffffffff"),
        ("request_id", 5),
        ("request_id", None),
        ("org_id", ""),
        ("org_id", "x" * 256),
        ("org_id", 5),
        ("org_id", None),
        ("user_id", "x" * 256),
        ("operation", "delete_session"),
        ("operation", None),
        ("payload", None),
        ("payload", []),
        ("timestamp", "yesterday"),
        ("timestamp", 5),
        ("metadata", []),
    ],
)
def test_other_requests(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionRequest.model_validate({**REQUEST, field: value})
    [found] = field_errors(caught.value)
    assert found["field"] == field
    assert str(value) not in found["reason"] or value in ("", 5)


@pytest.mark.parametrize("field", REQUEST)
def test_required_fields_of_a_request(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionRequest.model_validate({k: v for k, v in REQUEST.items() if k != field})
    assert field_errors(caught.value) == [{"field": field, "reason": "is required"}]


def test_a_datetime_becomes_its_text() -> None:
    moment = datetime(2025, 10, 13, 14, 30, tzinfo=UTC)
    made = CreateSessionRequest.model_validate({**REQUEST, "timestamp": moment})
    assert made.timestamp == "2025-10-13T14:30:00.000000+00:00"
    assert Session.model_validate({**SESSION, "created_at": moment}).created_at == made.timestamp


def test_a_uuid_is_taken_as_it_is() -> None:
    request_id = UUID(REQUEST["request_id"])
    assert CreateSessionRequest.model_validate({**REQUEST, "request_id": request_id}).request_id == request_id


@pytest.mark.parametrize("blank", [UUID(int=0), UUID(int=2**128 - 1)])
def test_a_blank_id_is_refused_of_a_producer_and_read_back_where_it_was_accepted_once(blank: UUID) -> None:
    for spelled in (blank, str(blank)):
        assert fields_in_error(CreateSessionRequest, {**REQUEST, "request_id": spelled}) == ["request_id"]
        stored = CreateSessionRequest.model_validate({**REQUEST, "request_id": spelled}, context=STORED)
        assert stored.request_id == blank
