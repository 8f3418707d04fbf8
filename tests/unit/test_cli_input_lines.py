"""`request` completes a document to a request, and says what is wrong with one that is none."""

import argparse
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from worker.cli.bulk.input_lines import _AHEAD, _UNIT, InputLine, _from_file, _opened
from worker.cli.bulk.progress import failed_so_far
from worker.cli.bulk.sending import Result, Totals
from worker.client import request_id_for

ID = "6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11"


async def read(text: str, *, flags: dict[str, Any] | None = None, **options: Any) -> list[InputLine]:
    given = argparse.Namespace(
        **{
            "file": "-",
            "org_id": None,
            "user_id": None,
            "request_id": None,
            "key": None,
            "metadata": None,
            "not_before": None,
            **options,
        }
    )
    file = io.StringIO(text) if given.file == "-" or text else _opened(given.file)
    return [document async for document in _from_file(file, given, flags or {})]


async def test_an_object_without_a_payload_is_the_payload() -> None:
    (document,) = await read('{"name": "a"}')

    assert document.request is not None
    assert (document.request.payload, document.request.org_id) == ({"name": "a"}, "demo")


async def test_one_with_a_payload_is_a_whole_request_in_either_spelling() -> None:
    whole = {"requestId": ID, "orgId": "o", "user_id": "u", "payload": {"name": "a"}, "metadata": {"m": 1}}
    (document,) = await read(json.dumps(whole, indent=1))

    request = document.request
    assert request is not None
    assert (request.identity(), request.org_id, request.user_id) == (UUID(ID), "o", "u")
    assert (request.payload, request.metadata) == ({"name": "a"}, {"m": 1})


async def test_flags_win_over_the_document() -> None:
    (document,) = await read(
        '{"org_id": "o", "payload": {"name": "a", "status": "active"}}',
        flags={"name": "b"},
        org_id="p",
        key="k",
    )

    request = document.request
    assert request is not None
    assert request.payload == {"name": "b", "status": "active"}
    assert request.identity() == request_id_for("p", "k")


async def test_each_line_gets_the_time_to_begin() -> None:
    begins_at = datetime(2030, 1, 31, 8, tzinfo=UTC)

    lines = await read('{"name": "a"}\n{"payload": {}}\n', not_before=begins_at)

    assert [line.request and line.request.not_before for line in lines] == [begins_at] * 2


async def test_lines_are_numbered_without_the_empty_ones() -> None:
    documents = await read('\n{"name": "a"}\n\n{"name": "b"}\n')

    assert [document.number for document in documents] == [1, 2]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "is not JSON"),
        ("null", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ('{"payload": []}', "has a payload that is not an object"),
        ('{"payload": {}, "colour": 1}', "has the unknown field 'colour'"),
        ('{"payload": {}, "request_id": 17}', "has a request_id that is not a UUID"),
        ('{"payload": {}, "operation": "delete"}', "asks for an operation that is not create_session"),
        ('{"payload": {}, "metadata": [1]}', "has metadata that are not an object"),
        ('{"payload": {}, "key": 17}', "has a key that is not a string"),
        ("[" * 100_000, "is nested too deep"),
    ],
)
async def test_what_is_no_request_is_told_and_the_next_is_read(line: str, problem: str) -> None:
    bad, good = await read(f"{line}\n{{}}\n", file="requests.jsonl")

    assert (bad.request, bad.problem) == (None, problem)
    assert good.request is not None


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["completed", "submitted"], 0),
        (["completed", "failed"], 1),
        (["completed", "timed_out"], 4),
        (["timed_out", "not_sent"], 1),
        ([], 0),
    ],
)
def test_the_exit_code_of_many(statuses: list[str], code: int) -> None:
    totals = Totals()
    for status in statuses:
        totals.add(Result(1, status, None, 0.1))

    assert totals.exit_code() == code


async def test_what_is_not_utf_8_is_the_problem_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"name": "a"}\n{"name": "Jos\xe9"}\n{"name": "Jos\xc3\xa9"}\n')

    first, bad, last = await read("", file=str(file))

    assert [each.request and each.request.payload for each in (first, last)] == [
        {"name": "a"},
        {"name": "José"},
    ]
    assert (bad.request, bad.problem) == (None, "is not UTF-8")


async def test_lines_longer_than_the_room_ahead_are_read_one_by_one() -> None:
    longer = json.dumps({"name": "x" * (_AHEAD * _UNIT)})

    documents = await read(f"{longer}\n{longer}\n{{}}\n")

    assert [document.number for document in documents] == [1, 2, 3]


def test_the_progress_tells_how_many_failed_and_what_of() -> None:
    totals = Totals()
    assert failed_so_far(totals) == ""
    for result in (Result(1, "completed", None, 1), Result(2, "submitted", None, 1)):
        totals.add(result)
    assert failed_so_far(totals) == ""
    for number in range(1000):
        totals.add(Result(number, "failed", None, 1, code="invalid_request"))
    assert failed_so_far(totals) == "failed 1000 (invalid_request)"
    totals.add(Result(0, "timed_out", None, 1))
    assert failed_so_far(totals) == "failed 1001 (invalid_request, …)"
