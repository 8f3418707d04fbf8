"""The checked-in documents are those of the code, and what they say is so."""

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from contract.documents import ROOT, texts
from contract.page import codes_table
from node_js import project_at, run
from pamqp import commands as spec

from schemas import CancelSessionRequest, CreateSessionRequest, CreateSessionResponse, FailureCode
from schemas.failures import FAILURES
from worker.asyncapi import document
from worker.cli import schema
from worker.envelope import Message, dead_letter_properties, response_properties
from worker.outcome import Answer, Route
from worker.topology import design

_MODELS = {
    "CreateSessionRequest": CreateSessionRequest,
    "CancelSessionRequest": CancelSessionRequest,
    "CreateSessionResponse": CreateSessionResponse,
}


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_the_checked_in_copy_is_what_the_code_says(path: Path) -> None:
    assert path.read_text("utf-8") == texts()[path], "run `make schemas`"


@pytest.mark.timeout(600)  # the first time, the parser is installed
async def test_the_official_parser_finds_nothing_wrong(tmp_path: Path) -> None:
    found = await _findings(document(), tmp_path)

    # It mentions that a newer version of AsyncAPI exists, and nothing else.
    assert [each["code"] for each in found] == ["asyncapi-latest-version"]


@pytest.mark.timeout(600)
async def test_the_official_parser_would_have_found_it(tmp_path: Path) -> None:
    wrong = document()
    wrong["operations"]["createSession"]["action"] = "publish"

    found = await _findings(wrong, tmp_path)

    errors = [each["path"] for each in found if each["severity"] == "error"]
    assert errors == ["operations.createSession.action"]


async def _findings(described: dict[str, Any], place: Path) -> list[dict[str, Any]]:
    project = await project_at(ROOT / "tests" / "contract" / "asyncapi", place / "parser")
    said: list[dict[str, Any]] = json.loads(
        await run("validate.mjs", cwd=project, seconds=300, given=json.dumps(described).encode())
    )
    return said


def test_the_examples_are_valid() -> None:
    for name, model in _MODELS.items():
        examples = document()["components"]["messages"][name]["examples"]
        assert examples
        for example in examples:
            model.model_validate_json(json.dumps(example["payload"]))


def test_it_names_everything_the_broker_holds() -> None:
    declared = design("other", limits_from_policy=False)
    said = document("other")["x-topology"]

    assert {(each["name"], each["kind"]) for each in said["exchanges"]} == set(declared.exchanges)
    assert [(each["name"], each["arguments"]) for each in said["queues"]] == [*map(tuple, declared.queues)]
    assert {tuple(each.values()) for each in said["bindings"]} == set(declared.bindings)
    assert "sessions." not in json.dumps(document("other")["channels"])


def test_properties_and_headers_are_those_that_are_sent() -> None:
    now = datetime.now(UTC)
    answer = Answer(uuid4(), "completed", None, "{}", "id", Route(None, None, "00-1-2-01"))
    arrived = Message(
        b"", spec.Basic.Properties(content_type="text/plain", correlation_id="c", reply_to="r"), None
    )
    sent = {
        "CreateSessionResponse": response_properties(answer, now),
        "UnreadableMessage": dead_letter_properties(arrived, "why", "worker", "1", now),
    }

    for name, properties in sent.items():
        said = document()["components"]["messages"][name]
        set_ = {field.replace("message_type", "type") for field, value in properties if value}
        assert set_ - {"headers"} == set(said["x-amqp-properties"]["properties"])
        assert set(properties.headers or {}) == set(said["headers"]["properties"])


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.execute(argparse.Namespace(name="asyncapi", json=True)) == 0

    assert json.loads(capsys.readouterr().out) == document()


def test_every_failure_code_is_explained_here_and_in_the_contract() -> None:
    assert list(FAILURES) == list(FailureCode)

    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    assert "\n".join(codes_table(document()["x-failure-codes"])) in contract


def test_the_examples_in_the_contract_are_valid() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    request, cancel = re.findall(r"```json\n(.*?)```", contract, re.DOTALL)

    CreateSessionRequest.model_validate_json(request)
    CancelSessionRequest.model_validate_json(cancel)


@pytest.mark.parametrize("folder", ["tests/contract/asyncapi", "examples/node"])
def test_no_lock_file_records_where_packages_came_from(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages.values())
