"""The checked-in documents are those of the code, and they tell the truth."""

import argparse
import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jsonschema_rs import Draft202012Validator
from pamqp import commands as spec
from pydantic import BaseModel
from support.contract.documents import ROOT, asyncapi, texts
from support.contract.made_requests import Maker
from support.contract.page import codes_table
from support.node_js import project_at, run

from schemas import (
    CancelSessionRequest,
    CreateSessionRequest,
    CreateSessionResponse,
    EventKind,
    FailureCode,
    RequestEvent,
    json_schemas,
)
from schemas.failure import FAILURES
from worker.asyncapi import document
from worker.cli.commands import schema
from worker.messages.dead_letters import dead_letter_properties
from worker.messages.envelope import Message, response_properties
from worker.rabbitmq.topology import design
from worker.values import Answer, Route

_MODELS: dict[str, type[BaseModel]] = {
    "CreateSessionRequest": CreateSessionRequest,
    "CancelSessionRequest": CancelSessionRequest,
    "CreateSessionResponse": CreateSessionResponse,
    "RequestEvent": RequestEvent,
}


def test_the_checked_in_copy_is_what_the_code_says() -> None:
    others = [path.name for path, text in texts().items() if path.read_text("utf-8") != text]
    assert others == [], "run `make generate`"


@pytest.mark.timeout(600)  # the first time, the parser is installed
async def test_the_official_parser_finds_nothing_wrong_and_would_have_found_it(tmp_path: Path) -> None:
    wrong = asyncapi()
    wrong["operations"]["createSession"]["action"] = "publish"

    right, found = await _findings([asyncapi(), wrong], tmp_path)

    # It mentions that a newer version of AsyncAPI exists, and nothing else.
    assert [each["code"] for each in right] == ["asyncapi-latest-version"]
    errors = [each["path"] for each in found if each["severity"] == "error"]
    assert errors == ["operations.createSession.action"]


@pytest.mark.timeout(600)
async def test_ajv_compiles_every_schema_strictly_and_judges_as_other_validators_do(tmp_path: Path) -> None:
    schemas = json_schemas()
    request = schemas["create-session-request.schema.json"]
    maker = Maker(request, random.Random(20260102))  # noqa: S311 — a run is to be like the one before
    bodies = [maker.request() for _ in range(200)] + [maker.mutated()[1] for _ in range(200)]
    strict = _without_what_json_cannot_say(bodies)

    minded, passed = await _by_ajv(schemas, strict, tmp_path)

    assert minded == []
    others = [Draft202012Validator(request, validate_formats=formats) for formats in (False, True)]
    for body, verdict in zip(strict, passed, strict=True):
        assert verdict in {other.is_valid(body) for other in others}, body
    assert 100 < sum(passed) < 400


@pytest.mark.timeout(600)
async def test_ajv_would_have_minded_it(tmp_path: Path) -> None:
    schemas = json_schemas()
    schemas["create-session-request.schema.json"]["discriminator"] = {"propertyName": "operation"}

    minded, _ = await _by_ajv(schemas, [], tmp_path)

    assert [each.partition(": ")[2] for each in minded] == ['strict mode: unknown keyword: "discriminator"']


def _without_what_json_cannot_say(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Removes bodies with numbers beyond a double or half a surrogate pair: languages differ on them."""
    texts = [re.sub("[\ud800-\udfff]", "x", json.dumps(body, ensure_ascii=False)) for body in bodies]
    return [json.loads(text) for text in texts if not re.search("[0-9]{309}", text)]


async def _by_ajv(
    schemas: dict[str, Any], bodies: list[dict[str, Any]], place: Path
) -> tuple[list[str], list[bool]]:
    """Returns what Ajv finds wrong with the schemas, and which requests it lets pass."""
    project = await project_at(ROOT / "tests" / "contract" / "asyncapi", place / "ajv")
    name = "create-session-request.schema.json"
    given = json.dumps({"schemas": schemas, "bodies": {**{each: [] for each in schemas}, name: bodies}})
    said = json.loads(await run("ajv.mjs", cwd=project, seconds=300, given=given.encode()))
    return said["minded"], said["passed"].get(name, [])


async def _findings(documents: list[dict[str, Any]], place: Path) -> list[list[dict[str, Any]]]:
    project = await project_at(ROOT / "tests" / "contract" / "asyncapi", place / "parser")
    given = json.dumps([json.dumps(each) for each in documents])
    said: list[list[dict[str, Any]]] = json.loads(
        await run("validate.mjs", cwd=project, seconds=300, given=given.encode())
    )
    return said


def test_each_schema_says_what_it_is_and_of_which_version() -> None:
    for name, found in json_schemas().items():
        assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        version = asyncapi()["info"]["version"]
        assert found["$id"] == f"urn:session-worker:{name.removesuffix('.schema.json')}:{version}"


def test_each_enumeration_has_a_name_that_generated_code_can_use() -> None:
    for described in json_schemas().values():
        assert list(_enumerations(described.get("properties"))) == []
        for definition in described.get("$defs", {}).values():
            assert "enum" in definition or list(_enumerations(definition)) == []


def _enumerations(described: Any) -> Iterator[list[Any]]:
    parts: list[Any] = described if isinstance(described, list) else []
    if isinstance(described, dict):
        if isinstance(described.get("enum"), list):
            yield described["enum"]
        parts = [part for name, part in described.items() if name != "propertyNames"]
    for part in parts:
        yield from _enumerations(part)


def test_the_examples_of_responses_are_as_strict_as_real_ones() -> None:
    strict = Draft202012Validator(json_schemas()["create-session-response.strict.schema.json"])
    for example in asyncapi()["components"]["messages"]["CreateSessionResponse"]["examples"]:
        strict.validate(example["payload"])


def test_the_examples_are_valid() -> None:
    for name, model in _MODELS.items():
        examples = asyncapi()["components"]["messages"][name]["examples"]
        assert examples
        for example in examples:
            model.model_validate_json(json.dumps(example["payload"]))


def test_it_names_everything_the_broker_holds() -> None:
    declared = design("other", limits_from_policy=False, events=True)
    said = document("other")["x-topology"]

    assert {(each["name"], each["kind"]) for each in said["exchanges"]} == set(declared.exchanges)
    assert [(each["name"], each["arguments"]) for each in said["queues"]] == [*map(tuple, declared.queues)]
    assert {tuple(each.values()) for each in said["bindings"]} == set(declared.bindings)
    assert "sessions." not in json.dumps(document("other")["channels"])


def test_properties_and_headers_are_those_that_are_sent() -> None:
    now = datetime.now(UTC)
    answer = Answer(uuid4(), "completed", None, "{}", "id", Route(None, None, "00-1-2-01"))
    arrived = Message(
        b"",
        spec.Basic.Properties(
            content_type="text/plain",
            content_encoding="gzip",
            correlation_id="c",
            reply_to="r",
            message_type="T",
        ),
        None,
    )
    sent = {
        "CreateSessionResponse": response_properties(answer, now),
        "UnreadableMessage": dead_letter_properties(arrived, "why", "worker", "1", now),
    }

    for name, properties in sent.items():
        said = asyncapi()["components"]["messages"][name]
        set_ = {field.replace("message_type", "type") for field, value in properties if value}
        assert set_ - {"headers"} == set(said["x-amqp-properties"]["properties"])
        assert set(properties.headers or {}) == set(said["headers"]["properties"])


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.execute(argparse.Namespace(name="asyncapi", json=True)) == 0

    assert json.loads(capsys.readouterr().out) == asyncapi()


def test_every_failure_code_is_explained_here_and_in_the_contract() -> None:
    assert list(FAILURES) == list(FailureCode)

    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    assert "\n".join(codes_table(asyncapi()["x-failure-codes"])) in contract


def test_the_examples_in_the_contract_are_valid() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    request, event, cancel = re.findall(r"```json\n(.*?)```", contract, re.DOTALL)

    CreateSessionRequest.model_validate_json(request)
    CancelSessionRequest.model_validate_json(cancel)
    assert RequestEvent.model_validate_json(event).kind == EventKind.RETRYING


@pytest.mark.parametrize("folder", ["tests/contract/asyncapi", "examples/node", "clients/typescript"])
def test_no_lock_file_records_where_packages_came_from(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages.values())
