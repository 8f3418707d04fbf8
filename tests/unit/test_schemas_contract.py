"""Consumers can rely on the contract: documents, examples, spellings, defaults, dependencies."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError
from support.contract.everything import EVERYTHING

import schemas
from schemas import (
    CreateSessionDTO,
    CreateSessionPayload,
    CreateSessionRequest,
    CreateSessionResponse,
    FailureCode,
    RequestStatus,
    Session,
)

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "tests" / "contract"
EXAMPLES = sorted((CONTRACT / "examples").glob("*.json"))
REQUEST_ID = "3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001"
SERVER_SET = {
    "id": "ts_251013_0000000000000",
    "org_id": "o",
    "created_at": "2025-10-13T14:30:00Z",
    "updated_at": "2025-10-13T16:30:00.123456+02:00",
}


def request(**changes: object) -> dict[str, Any]:
    return {
        "request_id": REQUEST_ID,
        "org_id": "o",
        "operation": "create_session",
        "payload": {},
        **changes,
    }


def test_the_response_schema_is_the_given_one() -> None:
    given = json.loads((CONTRACT / "create-session-response.schema.json").read_text())
    assert CreateSessionResponse.model_json_schema() == given


def test_the_checked_in_schemas_are_fresh() -> None:
    folder = ROOT / "schemas" / "json"
    documents = schemas.json_schemas()
    assert {name: json.loads((folder / name).read_text()) for name in documents} == documents


def test_there_are_seven_examples() -> None:
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted_and_come_back_as_they_were(path: Path) -> None:
    payload = json.loads(path.read_text())
    accepted = CreateSessionRequest.model_validate(request(payload=payload))
    dumped = json.loads(accepted.model_dump_json(exclude_unset=True))
    if path.stem != "07-camel-case":
        assert dumped == request(payload=payload)
    assert CreateSessionRequest.model_validate(dumped) == accepted
    assert CreateSessionRequest.model_validate_json(json.dumps(dumped)) == accepted
    Session.model_validate({**payload, **SERVER_SET})


def test_camel_case_comes_out_as_snake_case() -> None:
    camel = json.loads((CONTRACT / "examples" / "07-camel-case.json").read_text())
    history = json.loads((CONTRACT / "examples" / "05-message-history.json").read_text())
    customer = json.loads((CONTRACT / "examples" / "06-customer-twilio-number.json").read_text())
    dumped = CreateSessionPayload.model_validate(camel).model_dump(exclude_unset=True)
    assert dumped == {
        **customer,
        "messages": history["messages"],
        "expiration_seconds": 7200,
        "status": "active",
    }


def test_session_has_the_thirteen_properties() -> None:
    optional = {
        *("name", "status", "expiration_seconds", "assistant_id", "assistant", "messages"),
        *("customer", "phone_number_id", "phone_number"),
    }
    fields = Session.model_fields
    assert {name for name, field in fields.items() if field.is_required()} == set(SERVER_SET)
    assert set(fields) == optional | set(SERVER_SET)
    assert set(CreateSessionDTO.model_fields) == optional
    assert set(CreateSessionPayload.model_fields) == optional | {"casefile_id"}
    assert Session.model_json_schema()["required"] == list(SERVER_SET)
    assert set(Session.model_json_schema()["properties"]) == set(fields)


@pytest.mark.parametrize("name", SERVER_SET)
def test_what_the_server_sets_is_required_of_a_session(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Session.model_validate({key: value for key, value in SERVER_SET.items() if key != name})
    assert schemas.field_errors(caught.value) == [{"field": name, "reason": "is required"}]


@pytest.mark.parametrize("name", SERVER_SET)
def test_what_the_server_sets_is_refused_in_a_payload(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionPayload.model_validate({name: SERVER_SET[name]})
    assert schemas.field_errors(caught.value) == [{"field": name, "reason": "is not a known field"}]


def alias(name: str) -> str:
    irregular = {
        "tool_calls": "tool_calls",
        "tool_call_id": "tool_call_id",
        "open_ai_key": "openAIKey",
        "open_ai_endpoint": "openAIEndpoint",
        "number_e164_check_enabled": "numberE164CheckEnabled",
        "pcap_s3_path_prefix": "pcapS3PathPrefix",
        "auth_provider_x509_cert_url": "authProviderX509CertUrl",
        "async_": "async",
        "schema_": "schema",
    }
    head, *tail = name.split("_")
    return irregular.get(name) or head + "".join(part[0].upper() + part[1:] for part in tail)


def spelled_camel(value: object) -> Any:
    if isinstance(value, list):
        return [spelled_camel(item) for item in value]
    if isinstance(value, BaseModel):
        known = {
            alias(name): spelled_camel(getattr(value, name))
            for name in type(value).model_fields
            if name in value.model_fields_set
        }
        return known | (value.model_extra or {})
    return value


def test_every_field_takes_both_spellings_and_free_form_keys_are_data() -> None:
    snake = CreateSessionPayload.model_validate(EVERYTHING)
    camel = spelled_camel(snake)
    assert camel["customer"]["assistantOverrides"]["variableValues"] == {"orderNumber": 1, "a_b": 2}
    assert camel["assistant"]["credentials"][31]["openAIKey"] == "?"
    assert CreateSessionPayload.model_validate(camel) == snake
    assert CreateSessionPayload.model_validate(camel).model_dump(exclude_unset=True) == EVERYTHING
    assert json.loads(snake.model_dump_json(exclude_unset=True)) == EVERYTHING


def test_the_two_spellings_of_a_field_at_once_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionPayload.model_validate({"assistant_id": "a", "assistantId": "b"})
    assert schemas.field_errors(caught.value) == [{"field": "assistantId", "reason": "is not a known field"}]


def test_also_where_unknown_fields_are_kept() -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionPayload.model_validate(
            {
                "assistant": {
                    "model": {
                        "provider": "openai", "model": "gpt-4o", "toolIds": 7, "unknown": 1,
                        "tool_ids": [], "max_tokens": 100, "maxTokens": 999_999,
                    },
                    "voice": {"provider": "deepgram", "voice_id": "asteria", "voiceId": 5},
                }
            }
        )  # fmt: skip
    assert [error["field"] for error in schemas.field_errors(caught.value)] == [
        "assistant.model.toolIds",
        "assistant.model.maxTokens",
        "assistant.voice.voiceId",
    ]


def test_the_names_that_only_python_needs_are_not_the_contracts() -> None:
    hook = {"on": "call.ending", "do": [{"type": "function", "async_": True}]}
    with pytest.raises(ValidationError, match="async_"):
        CreateSessionPayload.model_validate({"assistant": {"hooks": [hook]}})
    plan: dict[str, Any] = {"structured_data_plan": {"schema_": {}}}
    with pytest.raises(ValidationError, match="schema_"):
        CreateSessionPayload.model_validate({"assistant": {"analysis_plan": plan}})


def test_declared_defaults_are_applied_and_stated_ones_are_not() -> None:
    payload = CreateSessionPayload.model_validate(
        {
            "customer": {"assistant_overrides": {}},
            "assistant": {
                "voicemail_detection": {"provider": "vapi", "backoff_plan": {}},
                "background_speech_denoising_plan": {
                    "smart_denoising_plan": {},
                    "fourier_denoising_plan": {},
                },
                "stop_speaking_plan": {},
            },
            "phone_number": {
                "twilio_phone_number": "1",
                "twilio_account_sid": "s",
                "fallback_destination": {
                    "type": "number",
                    "number": "+123",
                    "transfer_plan": {
                        "mode": "warm-transfer-experimental",
                        "fallback_plan": {"message": ""},
                    },
                },
            },
        }
    )
    full = payload.model_dump(exclude_none=True)
    stop = full["assistant"].pop("stop_speaking_plan")
    assert (len(stop["acknowledgement_phrases"]), stop["acknowledgement_phrases"][-1]) == (
        22,
        "yeah sure",
    )
    assert (len(stop["interruption_phrases"]), stop["interruption_phrases"][-1]) == (20, "actually")
    assert full == {
        "customer": {
            "number_e164_check_enabled": True,
            "assistant_overrides": {"first_message_interruptions_enabled": False},
        },
        "assistant": {
            "first_message_interruptions_enabled": False,
            "voicemail_detection": {
                "provider": "vapi",
                "beep_max_await_seconds": 30,
                "backoff_plan": {"start_at_seconds": 5, "frequency_seconds": 5, "max_retries": 6},
            },
            "background_speech_denoising_plan": {
                "smart_denoising_plan": {"enabled": False},
                "fourier_denoising_plan": {
                    "enabled": False,
                    "media_detection_enabled": True,
                    "static_threshold": -35,
                    "baseline_offset_db": -15,
                    "window_size_ms": 3000,
                    "baseline_percentile": 85,
                },
            },
        },
        "phone_number": {
            "sms_enabled": True,
            "twilio_phone_number": "1",
            "twilio_account_sid": "s",
            "fallback_destination": {
                "type": "number",
                "number_e164_check_enabled": True,
                "number": "+123",
                "transfer_plan": {
                    "mode": "warm-transfer-experimental",
                    "timeout": 60,
                    "sip_verb": "refer",
                    "fallback_plan": {"message": "", "end_call_enabled": True},
                },
            },
        },
    }


def test_numbers_stay_what_they_were() -> None:
    sent = '{"expiration_seconds":3600,"messages":[{"role":"system","message":"m",'
    sent += '"time":1750492800000,"seconds_from_start":7.0}]}'
    assert CreateSessionPayload.model_validate_json(sent).model_dump_json(exclude_unset=True) == sent


@pytest.mark.parametrize(
    ("payload", "may"),
    [
        ({}, False),
        ({"customer": {"number": "+123"}, "assistant_id": "a"}, False),
        ({"customer": {"assistant_overrides": {}}}, True),
        ({"assistant": {}}, True),
        ({"phone_number": {"twilio_phone_number": "1", "twilio_account_sid": "s"}}, True),
    ],
)
def test_payloads_that_may_hold_secrets(payload: dict[str, Any], may: bool) -> None:
    assert CreateSessionPayload.model_validate(payload).may_hold_secrets() is may


def test_a_repr_shows_names_and_no_values() -> None:
    shown = repr(CreateSessionRequest.model_validate(request(payload=EVERYTHING, user_id="u5er")))
    assert shown == ("CreateSessionRequest('operation', 'org_id', 'payload', 'request_id', 'user_id')")


def test_codes_and_states() -> None:
    assert [str(status) for status in RequestStatus] == [
        *("pending", "processing", "completed", "failed"),
    ]
    assert {str(code) for code in FailureCode} == {
        *("invalid_request", "request_id_conflict", "deadline_exceeded", "attempts_exhausted"),
        *("rejected", "secrets_refused", "too_large", "cancelled", "not_allowed"),
    }


def response(**changes: object) -> dict[str, Any]:
    created = {"session_id": "ts_251013_abc", "created_at": "2025-10-13T14:30:00Z"}
    return {"request_id": REQUEST_ID, "status": "completed", "payload": created, **changes}


def test_a_response_fills_in_its_time_and_metadata() -> None:
    made = CreateSessionResponse.model_validate(response())
    assert made.request_id == UUID(REQUEST_ID)
    assert made.metadata == {}
    assert made.timestamp.endswith("+00:00")
    assert CreateSessionResponse.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("status", "error", "good"),
    [
        ("failed", "why", True),
        ("completed", None, True),
        ("pending", None, True),
        ("failed", None, False),
        ("completed", "why", False),
        ("processing", "why", False),
    ],
)
def test_failed_and_error_come_together(status: str, error: str | None, good: bool) -> None:
    document = response(status=status, error=error)
    if good:
        assert CreateSessionResponse.model_validate(document).error == error
    else:
        with pytest.raises(ValidationError, match="failed response"):
            CreateSessionResponse.model_validate(document)


def test_the_contract_needs_pydantic_and_nothing_else() -> None:
    program = """
import sys
before = set(sys.modules)
import schemas
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = {name for name in done.stdout.split() if not name.startswith("_sysconfigdata")}
    assert imported - sys.stdlib_module_names == {
        *("pydantic", "pydantic_core", "annotated_types", "typing_extensions"),
        *("typing_inspection", "schemas"),
    }
