"""The walk over a payload finds every secret of the contract, and finds their places again."""

import copy
import json
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contract.secret_payloads import SecretCase, secret_payloads

from schemas import CreateSessionPayload, map_secrets, may_hold_secrets
from schemas.secret import _CREDENTIAL, _HEADERS

CASES = secret_payloads()
Document = TypeVar("Document", dict[str, Any], list[Any])


def sealed(document: Document) -> tuple[Document, dict[str, Any]]:
    kept: dict[str, object] = {}

    def change(path: str, value: object) -> str:
        assert path not in kept
        kept[path] = value
        return f"sealed:{path}"

    return map_secrets(document, change), kept


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.canary)
def test_every_marked_secret_is_found_and_found_again(case: SecretCase) -> None:
    payload = CreateSessionPayload.model_validate(case.payload)
    text = payload.model_dump_json(exclude_unset=True)
    document = json.loads(text)
    before = copy.deepcopy(document)
    assert case.canary in text
    assert payload.may_hold_secrets()
    assert may_hold_secrets(text)
    assert may_hold_secrets(json.dumps(case.payload, indent=1))
    assert case.canary not in repr(payload)

    hidden, kept = sealed(document)
    assert case.canary not in json.dumps(hidden)
    assert case.path in kept
    assert document == before

    assert may_hold_secrets(json.dumps(hidden))
    assert map_secrets(hidden, lambda path, _: kept[path]) == before


def test_every_row_of_the_secret_paths_has_a_case() -> None:
    under_assistant = {
        "server.headers.X-Hook",
        "credentials.0",
        "hooks.0.do.0.server.headers.X-Hook",
        "hooks.0.do.0.destination.sip_headers.X-Queue",
        "transcriber.server.headers.X-Hook",
        "transcriber.fallback_plan.transcribers.0.server.headers.X-Hook",
        "voice.server.headers.X-Hook",
        "voice.fallback_plan.voices.0.server.headers.X-Hook",
        "model.tools.0.server.headers.X-Hook",
        "model.tools.0.headers.properties",
        "model.tools.0.destinations.0.sip_headers.X-Queue",
        "model.tools.0.destinations.0.sipHeaders.X-Queue",
        "model.knowledge_base.server.headers.X-Hook",
    }
    assert {case.path for case in CASES} == {
        "phone_number.twilio_auth_token",
        "phone_number.twilio_api_key",
        "phone_number.twilio_api_secret",
        "phone_number.server.headers.X-Hook",
        "phone_number.fallback_destination.sip_headers.X-Queue",
        "phone_number.hooks.0.do.0.destination.sip_headers.X-Queue",
        *(f"assistant.{path}" for path in under_assistant),
        *(f"customer.assistant_overrides.{path}" for path in under_assistant),
    }
    assert len({case.canary for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "APIKey", "x-api-key", "apiToken", "token", "accessToken", "secret"),
        *("clientSecret", "client_secret", "password", "authorization", "Authorization", "auth"),
        *("openAIKey", "aws_access_key_id", "awsSecretAccessKey", "private_key", "credentials"),
        *("connectionString", "default_headers", "extraHeaders", "jwt", "developerToken"),
    ],
)
def test_names_of_credentials_in_provider_blocks(name: str) -> None:
    block = {"provider": "openai", "model": "gpt-4o", "own": [{name: "s3cr3t"}]}
    payload = {"assistant": {"model": block}}
    hidden, kept = sealed(payload)
    assert list(kept.values()) == ["s3cr3t"]
    assert may_hold_secrets(json.dumps(payload))
    assert map_secrets(hidden, lambda path, _: kept[path]) == payload


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "maxTokens", "max_token", "eosToken", "stop_token", "key", "keywords"),
        *("credential_ids", "tool_call_id", "author", "authenticated", "secretary", "header"),
    ],
)
def test_names_that_only_look_alike(name: str) -> None:
    payload = {"assistant": {"model": {"provider": "openai", "model": "gpt-4o", name: "plain"}}}
    assert sealed(payload) == (payload, {})


def test_a_schema_that_describes_a_secret_stays_readable_but_values_in_it_do_not() -> None:
    described = {"type": "string", "description": "The caller's password", "default": "s3cr3t"}
    schema = {"type": "object", "properties": {"password": described, "headers": {"type": "null"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    hidden, kept = sealed({"tools": [tool]})
    place = "tools.0.function.parameters.properties.password.default"
    assert kept == {place: "s3cr3t"}
    assert map_secrets(hidden, lambda path, _: kept[path]) == {"tools": [tool]}


def test_properties_that_are_no_schema_hide_nothing() -> None:
    _, kept = sealed({"properties": {"headers": {"X": "a"}, "token": "b", "password": {"p": "c"}}})
    assert kept == {
        "properties.headers.X": "a",
        "properties.token": "b",
        "properties.password": {"p": "c"},
    }


def test_free_form_objects_are_left_alone() -> None:
    free = {"token": "t", "headers": {"X": "y"}}
    document = {"assistant": {"metadata": free, "variable_values": free, "variableValues": free}}
    assert sealed(document) == (document, {})


@pytest.mark.parametrize("empty", [None, "", {}, [], True, False])
def test_nothing_and_a_switch_are_no_secrets(empty: object) -> None:
    document = {"token": empty, "headers": {"X": empty}, "credentials": [empty]}
    assert sealed(document) == (document, {})


def test_a_list_of_documents_and_names_with_odd_characters() -> None:
    hidden, kept = sealed([{"headers": {"a.b$1\\g<0>": "x\n$&"}}, {"n" * 500 + "_token": 7}])
    assert kept == {"0.headers.a.b$1\\g<0>": "x\n$&", "1." + "n" * 500 + "_token": 7}
    assert map_secrets(hidden, lambda path, _: kept[path])[1] == {"n" * 500 + "_token": 7}


def test_a_name_behind_an_escape_is_not_overlooked() -> None:
    assert may_hold_secrets('{"\\u0061piKey": "x"}')
    assert not may_hold_secrets('{"name": "caf\\u00e9"}')


names = (
    st.from_regex(_CREDENTIAL, alphabet=st.characters(codec="utf-8"))
    | st.from_regex(_HEADERS, alphabet=st.characters(codec="utf-8"))
    | st.text()
    | st.sampled_from(["metadata", "properties", "type", "credentials", "default"])
)
documents = st.dictionaries(
    names,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


@given(documents, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\n :\t")]))
def test_the_look_at_the_text_never_misses_what_the_walk_finds(
    document: dict[str, Any], ascii_only: bool, separators: tuple[str, str]
) -> None:
    hidden: list[str] = []
    map_secrets(document, lambda path, _: hidden.append(path))
    text = json.dumps(document, ensure_ascii=ascii_only, separators=separators)
    assert may_hold_secrets(text) or not hidden


@given(documents)
def test_the_inverse_restores_any_document(document: dict[str, Any]) -> None:
    kept: list[object] = []

    def seal(_: str, value: object) -> str:
        kept.append(value)
        return "sealed"

    hidden = map_secrets(document, seal)
    restored = iter(kept)
    assert map_secrets(hidden, lambda _path, _value: next(restored)) == document
