"""Today's documents are compatible with the last release's; planted changes show that a break is found."""
# ruff: noqa: E501 — a table, a change on a line

import re
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from pydantic import ValidationError
from support.contract.compatibility import SIDES, Side, breaking, changes
from support.contract.documents import json_documents, latest_release
from support.contract.tightened import TIGHTENED, Tightened, Worker, explained

from schemas import CancelSessionRequest, CreateSessionRequest
from schemas.documents import CONTRACT_VERSION

Documents = dict[str, dict[str, Any]]

REQUEST, RESPONSE = "create-session-request.schema.json", "create-session-response.schema.json"
SESSION, CANCEL, ASYNCAPI = (
    "session.schema.json",
    "cancel-session-request.schema.json",
    "asyncapi.json",
)


def test_nothing_that_was_released_is_broken() -> None:
    found = breaking(latest_release(), json_documents())

    assert [problem for problem in found if not explained(problem)] == []


def test_a_document_that_changed_has_another_version() -> None:
    released, today = latest_release(), json_documents()

    assert released == today or released[ASYNCAPI]["info"]["version"] != CONTRACT_VERSION


@pytest.mark.parametrize("tightened", TIGHTENED, ids=lambda each: f"{each.sentence} {each.worker.name}")
def test_what_was_tightened_is_as_it_is_explained(tightened: Tightened) -> None:
    name = tightened.document
    released, today = latest_release()[name], json_documents()[name]
    problems = [f"{name}: {problem}" for problem in changes(released, today, Side.REQUEST)]
    assert [problem for problem in problems if re.fullmatch(f"{name}: {tightened.sentence}", problem)]

    for body in tightened.sent:
        assert Draft202012Validator(released).is_valid(body), body
        assert not Draft202012Validator(today).is_valid(body), body
        assert _is_taken(body) == (tightened.worker is Worker.TAKES_IT), body


def _is_taken(body: dict[str, Any]) -> bool:
    cancels = body["operation"] == "cancel_session"
    model = CancelSessionRequest if cancels else CreateSessionRequest
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


def _object(documents: Documents, name: str, *path: str) -> dict[str, Any]:
    """Returns an object of a document: the document itself, or one of its definitions."""
    found: Any = documents[name]
    for part in path or ("properties",):
        found = found[part]
    assert isinstance(found, dict)
    return found


def _dto(documents: Documents) -> dict[str, Any]:
    return _object(documents, REQUEST, "$defs", "CreateSessionPayload")


def _renamed(properties: dict[str, Any], name: str) -> None:
    properties[f"{name}_2"] = properties.pop(name)


def _required(schema: dict[str, Any], name: str) -> None:
    schema.setdefault("properties", {}).setdefault(name, {"type": "string"})
    schema["required"] = [*schema.get("required", []), name]


def _model(documents: Documents) -> dict[str, Any]:
    """Returns a definition with an enum, in the middle of a union."""
    return _object(documents, REQUEST, "$defs", "OpenAIModelName")


def _message(documents: Documents, name: str, part: str) -> dict[str, Any]:
    return _object(documents, ASYNCAPI, "components", "messages", name, part)


def _variants(documents: Documents) -> list[Any]:
    options = _dto(documents)["properties"]["messages"]["anyOf"]
    (array,) = (option for option in options if option.get("type") == "array")
    variants: list[Any] = array["items"]["oneOf"]
    return variants


def _shorter(documents: Documents) -> None:
    options = _dto(documents)["properties"]["name"]["anyOf"]
    options[0]["maxLength"] -= 1


def _range(documents: Documents) -> dict[str, Any]:
    found: dict[str, Any] = _dto(documents)["properties"]["expiration_seconds"]["anyOf"][0]
    return found


def _version_2(document: dict[str, Any]) -> None:
    for part, old, new in (
        ("channels", "requests", "requestsV2"),
        ("operations", "createSession", "createSessionV2"),
    ):
        document[part][new] = dict(document[part][old])
    document["channels"]["requestsV2"]["address"] = "create.v2"


_BREAKING: dict[str, Callable[[Documents], object]] = {
    "a document goes": lambda all_: all_.pop(CANCEL),
    "a request's property goes": lambda all_: _dto(all_)["properties"].pop("name"),
    "a request's property is renamed": lambda all_: _renamed(_dto(all_)["properties"], "casefile_id"),
    "a deep one is renamed": lambda all_: _renamed(
        _object(all_, REQUEST, "$defs", "Server", "properties"), "url"
    ),
    "a request needs a new property": lambda all_: _required(_dto(all_), "region"),
    "a request needs one that was optional": lambda all_: _required(_object(all_, REQUEST, "$defs", "CreateSessionPayload"), "customer"),
    "an enum of a request narrows": lambda all_: _model(all_)["enum"].pop(),
    "a variant of a request goes": lambda all_: _variants(all_).pop(),
    "the status may no longer be left out": lambda all_: _dto(all_)["properties"].update(status={"type": "string"}),
    "a text of a request gets shorter": _shorter,
    "a number's range gets smaller": lambda all_: _range(all_).update(minimum=120),
    "a pattern is new": lambda all_: _object(all_, REQUEST)["org_id"].update(pattern="^org"),
    "something is excepted": lambda all_: _object(all_, REQUEST)["org_id"].update({"not": {"const": "admin"}}),
    "a kept field's name is excepted": lambda all_: _object(all_, REQUEST, "$defs", "ModelMessage").update(propertyNames={"not": {"const": "name"}}),
    "another operation is asked for": lambda all_: _object(all_, REQUEST)["operation"].update(const="create"),
    "a default changes": lambda all_: _object(
        all_, REQUEST, "$defs", "CreateAssistantDTO", "properties"
    )["first_message_interruptions_enabled"].update(default=True),
    "a kept field is refused": lambda all_: _object(all_, REQUEST, "$defs", "OpenAIModel").update(additionalProperties=False),
    "a response's property goes": lambda all_: _object(all_, RESPONSE).pop("error"),
    "a deep property of a response goes": lambda all_: _object(all_, RESPONSE, "$defs", "SessionCreatedPayload", "properties").pop("casefile_id"),
    "a response may lack what it had": lambda all_: _object(all_, RESPONSE, "$defs", "SessionCreatedPayload")["required"].remove("session_id"),
    "an enum of a response widens": lambda all_: _object(all_, RESPONSE, "$defs", "RequestStatus")["enum"].append("paused"),
    "an enum of a response opens": lambda all_: _object(all_, RESPONSE, "$defs", "RequestStatus").pop("enum"),
    "a response's type changes": lambda all_: _object(all_, RESPONSE)["timestamp"].update(type="number"),
    "a response's value may be absent": lambda all_: _object(all_, RESPONSE).update(timestamp={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "a record's property goes": lambda all_: _object(all_, SESSION).pop("created_at"),
    "a record's type changes": lambda all_: _object(all_, SESSION).update(org_id={"type": "integer"}),
    "the routing key changes": lambda all_: _object(all_, ASYNCAPI, "channels", "requests").update(address="make"),
    "a binding goes": lambda all_: all_[ASYNCAPI]["x-topology"]["bindings"].pop(0),
    "the queue of the responses gets none": lambda all_: all_[ASYNCAPI]["x-topology"]["bindings"][3].update(queue="sessions.more"),
    "an exchange's kind changes": lambda all_: all_[ASYNCAPI]["x-topology"]["exchanges"][2].update(kind="fanout"),
    "an exchange is renamed": lambda all_: all_[ASYNCAPI]["x-topology"]["exchanges"][0].update(name="sessions.in"),
    "a queue's type changes": lambda all_: all_[ASYNCAPI]["x-topology"]["queues"][2].update(arguments={"x-queue-type": "classic"}),
    "a message's type changes": lambda all_: _message(all_, "CreateSessionResponse", "bindings")["amqp"].update(messageType="SessionResponse"),
    "a message's content type changes": lambda all_: _object(all_, ASYNCAPI, "components", "messages", "CreateSessionResponse").update(contentType="text/plain"),
    "a property of a response goes": lambda all_: _message(all_, "CreateSessionResponse", "x-amqp-properties")["properties"].pop("message_id"),
    "a request needs a header": lambda all_: _required(_message(all_, "CreateSessionRequest", "headers"), "deadline"),
    "a header of a request goes": lambda all_: _message(all_, "CreateSessionRequest", "headers")["properties"].pop("deadline"),
    "a request needs a time to begin": lambda all_: _required(_message(all_, "CreateSessionRequest", "headers"), "not_before"),
    "a time to begin may no longer be a text": lambda all_: _message(all_, "CreateSessionRequest", "headers")["properties"].update(not_before={"type": "number"}),
    "a header of a dead letter goes": lambda all_: _message(all_, "UnreadableMessage", "headers")["properties"].pop("x-reason"),
    "the reply goes elsewhere": lambda all_: all_[ASYNCAPI]["operations"]["createSession"]["reply"]["address"].update(location="$message.header#/answer_to"),
    "an operation goes": lambda all_: all_[ASYNCAPI]["operations"].pop("cancelSession"),
    "a failure code goes": lambda all_: all_[ASYNCAPI]["x-failure-codes"].pop("rejected"),
}  # fmt: skip

_ADDITIONS: dict[str, Callable[[Documents], object]] = {
    "a request's optional property": lambda all_: _dto(all_)["properties"].update(region={"type": "string"}),
    "a value of a request": lambda all_: _model(all_)["enum"].append("gpt-6"),
    "a variant of a request": lambda all_: _variants(all_).append({"type": "object", "properties": {"role": {"const": "x"}}}),
    "a longer text": lambda all_: _object(all_, REQUEST)["org_id"].update(maxLength=300),
    "a wider range": lambda all_: _range(all_).update(minimum=1),
    "a requirement less": lambda all_: all_[REQUEST]["required"].remove("org_id"),
    "null where a text was": lambda all_: _object(all_, REQUEST).update(org_id={"anyOf": [{"type": "string", "minLength": 1, "maxLength": 255}, {"type": "null"}]}),
    "a response's property": lambda all_: _object(all_, RESPONSE).update(attempt={"type": "integer"}),
    "a response's property, always there": lambda all_: _required(all_[RESPONSE], "region"),
    "a value less in a response": lambda all_: _object(all_, RESPONSE, "$defs", "RequestStatus")["enum"].remove("pending"),
    "a record's property": lambda all_: _object(all_, SESSION).update(region={"type": "string"}),
    "a value of a record": lambda all_: _object(all_, SESSION, "$defs", "OpenAIModelName")["enum"].append("gpt-6"),
    "another description": lambda all_: _object(all_, RESPONSE)["error"].update(description="why"),
    "an exchange": lambda all_: all_[ASYNCAPI]["x-topology"]["exchanges"].append({"name": "sessions.more", "kind": "topic"}),
    "a binding": lambda all_: all_[ASYNCAPI]["x-topology"]["bindings"].append({"queue": "sessions.requests", "exchange": "sessions.requests", "key": "create.v2"}),
    "another queue behind a key": lambda all_: all_[ASYNCAPI]["x-topology"]["bindings"][0].update(queue="sessions.more"),
    "a limit of the operators'": lambda all_: all_[ASYNCAPI]["x-topology"]["queues"][0]["arguments"].update({"x-delivery-limit": 5}),
    "a header": lambda all_: _message(all_, "CreateSessionRequest", "headers")["properties"].update(tenant={"type": "string"}),
    "an operation, its channel and its message": lambda all_: _version_2(all_[ASYNCAPI]),
    "a failure code": lambda all_: all_[ASYNCAPI]["x-failure-codes"].update(quota_exceeded={"meaning": "", "remedy": ""}),
}  # fmt: skip


@pytest.mark.parametrize("name", SIDES)
def test_a_document_breaks_nothing_of_its_own(name: str) -> None:
    assert changes(json_documents()[name], json_documents()[name], SIDES[name]) == []


@pytest.mark.parametrize("change", _BREAKING)
def test_a_breaking_change_is_refused(change: str) -> None:
    changed = json_documents()
    _BREAKING[change](changed)

    assert len(breaking(json_documents(), changed)) == 1


@pytest.mark.parametrize("change", _ADDITIONS)
def test_an_addition_is_accepted(change: str) -> None:
    changed = json_documents()
    _ADDITIONS[change](changed)

    assert changed != json_documents()
    assert breaking(json_documents(), changed) == []
