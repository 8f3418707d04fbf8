"""Errors name the field in a producer's words and never repeat what was sent."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from support.contract.everything import EVERYTHING

from schemas import CreateSessionPayload, CreateSessionRequest, CreateSessionResponse, field_errors
from schemas.base import wire_alias
from schemas.errors import _UNIONS, _UNIONS_AT_TIMES, MAX_ERRORS

CANARY = "c4nary-value"


def errors(model: type[BaseModel], document: object) -> list[dict[str, str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    assert CANARY not in str(field_errors(caught.value))
    return field_errors(caught.value)


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    if isinstance(value, list):
        items = enumerate(value)
    return [path, *(found for key, item in items for found in leaves(item, (*path, key)))]


def planted(value: object, path: tuple[str | int, ...], canary: object) -> Any:
    if not path:
        return canary
    if isinstance(value, dict):
        return {
            key: planted(item, path[1:], canary) if key == path[0] else item for key, item in value.items()
        }
    assert isinstance(value, list)
    return [planted(item, path[1:], canary) if index == path[0] else item for index, item in enumerate(value)]


def errors_if_any(document: object) -> list[dict[str, str]]:
    try:
        CreateSessionPayload.model_validate(document)
    except ValidationError as error:
        return field_errors(error)
    return []


@pytest.mark.parametrize("canary", [CANARY, [CANARY], CANARY * 1000, {"key": CANARY}])
def test_no_value_of_any_kind_at_any_place_is_repeated(canary: object) -> None:
    documents = [planted(EVERYTHING, path, canary) for path in leaves(EVERYTHING)]
    refusals = [found for document in documents if (found := errors_if_any(document))]
    assert len(refusals) > 500
    assert CANARY not in str(refusals)


def test_paths_are_as_sent_and_without_tags() -> None:
    document = {
        "messages": [{"role": "user", "message": "m", "time": 1, "endTime": "x"}],
        "assistant": {
            "model": {"provider": "openai", "model": "gpt-4o", "messages": [{"role": "robot"}]},
            "hooks": [
                {
                    "on": "call.ending",
                    "do": [
                        {
                            "type": "transfer",
                            "destination": {
                                "type": "number",
                                "number": 5,
                                "message": {"type": "custom-message", "content": 5},
                            },
                        }
                    ],
                }
            ],
            "startSpeakingPlan": {"customEndpointingRules": [{"type": "both"}]},
        },
        "phoneNumber": {"hooks": [{"on": "x", "do": [{"type": "say"}]}]},
    }
    assert [item["field"] for item in errors(CreateSessionPayload, document)] == [
        "assistant.model.messages.0.role",
        "assistant.model.messages.0.content",
        "assistant.hooks.0.do.0.destination.message.content",
        "assistant.hooks.0.do.0.destination.number",
        "assistant.startSpeakingPlan.customEndpointingRules.0.assistant_regex",
        "assistant.startSpeakingPlan.customEndpointingRules.0.customer_regex",
        "assistant.startSpeakingPlan.customEndpointingRules.0.timeout_seconds",
        "messages.0.endTime",
        "messages.0.seconds_from_start",
        "phoneNumber.hooks.0.on",
        "phoneNumber.hooks.0.do.0.exact",
        "phoneNumber.twilio_phone_number",
        "phoneNumber.twilio_account_sid",
    ]


def unions(schema: Any, name: str, found: dict[str, set[str]]) -> None:
    """Finds every field that holds a tagged union, with the union's tags."""
    if isinstance(schema, list | tuple):
        for item in schema:
            unions(item, name, found)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "tagged-union":
        found.setdefault(name, set()).update(map(str, schema["choices"]))
    for key, value in schema.items():
        if key == "fields" and isinstance(value, dict):
            for field, inner in value.items():
                unions(inner, field, found)
        elif key not in {"metadata", "serialization", "ref"}:
            unions(value, name, found)


def test_the_known_unions_are_those_of_the_models() -> None:
    found: dict[str, set[str]] = {}
    unions(CreateSessionRequest.__pydantic_core_schema__, "", found)
    at_times = {name: tags for name, tags in found.items() if name in _UNIONS_AT_TIMES}
    assert at_times == _UNIONS_AT_TIMES
    always = {name for name in found if name not in _UNIONS_AT_TIMES}
    assert always | {wire_alias(name) for name in always} == _UNIONS


@pytest.mark.parametrize("role", [CANARY, 5, None, [CANARY], {CANARY: CANARY}])
def test_an_unknown_role_is_named_with_the_allowed_ones(role: object) -> None:
    assert errors(CreateSessionPayload, {"messages": [{"role": role}]}) == [
        {
            "field": "messages.0.role",
            "reason": "must be one of 'system', 'user', 'assistant', 'tool', 'developer'",
        }
    ]


@pytest.mark.parametrize("document", [5, "x", None, [], True])
def test_what_is_no_object_at_all(document: object) -> None:
    assert errors(CreateSessionRequest, document) == [{"field": "(root)", "reason": "must be an object"}]
    assert (
        errors(CreateSessionPayload, {"messages": [document]})
        == [{"field": "messages.0", "reason": "must be an object"}]
        or document == []
    )


def test_a_long_list_of_values_is_cut() -> None:
    [error] = errors(CreateSessionPayload, {"assistant": {"credentials": [{"provider": CANARY}]}})
    assert error["field"] == "assistant.credentials.0.provider"
    assert error["reason"].count("', '") == 19
    assert error["reason"].endswith(" and 28 more")


def test_the_name_of_an_unknown_field_is_cut_and_made_printable() -> None:
    [error] = errors(CreateSessionPayload, {"a\x00\u2028\n" + "b" * 100: CANARY})
    assert error == {"field": "a???" + "b" * 60 + "…", "reason": "is not a known field"}


@pytest.mark.parametrize("count", [MAX_ERRORS, MAX_ERRORS + 1, 1000])
def test_many_errors_are_counted(count: int) -> None:
    found = errors(CreateSessionPayload, {f"unknown{index}": 1 for index in range(count)})
    assert len(found) == min(count, MAX_ERRORS + 1)
    if count > MAX_ERRORS:
        assert found[-1] == {
            "field": "*",
            "reason": f"{count - MAX_ERRORS} more errors are not listed",
        }


def test_text_that_is_not_unicode() -> None:
    assert errors(CreateSessionPayload, {"name": "\ud800"}) == [
        {"field": "name", "reason": "must be valid Unicode"}
    ]


def test_errors_of_types_that_no_sentence_is_kept_for() -> None:
    document = {"request_id": CANARY, "status": CANARY, "payload": {"session_id": "s"}}
    assert errors(CreateSessionResponse, document) == [
        {"field": "request_id", "reason": "is not valid (uuid_parsing)"},
        {"field": "status", "reason": "is not valid (enum)"},
        {"field": "payload.created_at", "reason": "is required"},
    ]


def test_json_that_cannot_be_read() -> None:
    with pytest.raises(ValidationError) as caught:
        CreateSessionRequest.model_validate_json("{" + CANARY)
    assert field_errors(caught.value) == [{"field": "(root)", "reason": "is not valid JSON"}]


def test_errors_beyond_counting_are_counted() -> None:
    listed = errors(CreateSessionPayload, {"messages": [{"role": CANARY}] * 20_000})

    assert listed == [{"field": "*", "reason": "20000 errors are too many to list"}]
