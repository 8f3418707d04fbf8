"""Schema and worker give the same verdict on thousands of random requests, except for a few listed kinds."""

import base64
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from pamqp import commands as spec
from support.contract.differences import explaining, kinds_of
from support.contract.documents import FOLDER, ROOT
from support.contract.made_requests import Maker
from support.contract.mutations import OPERATORS

from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import parse_seal_keys
from worker.values import Arrival

_DOCUMENT = json.loads((FOLDER / "create-session-request.schema.json").read_text("utf-8"))
_SEED = 20260102
_AS_MADE, _MUTATED = 2000, 3000
_KEYS = parse_seal_keys(f"k1:{base64.b64encode(bytes(32)).decode()}")
_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
Json = dict[str, Any]

# A producer's validator may take `format` for a remark, or hold requests against it.
_LENIENT = Draft202012Validator(_DOCUMENT, validate_formats=False)
_WITH_FORMATS = Draft202012Validator(_DOCUMENT, validate_formats=True)


def _by_schema(request: Json, validator: Draft202012Validator) -> bool:
    try:
        return validator.is_valid(request)
    except (UnicodeEncodeError, ValueError):
        # It takes Unicode alone. Of what length a text is, any letter says as well.
        return validator.is_valid(
            json.loads(_HALF_A_PAIR.sub("\ufffd", json.dumps(request, ensure_ascii=False)))
        )


def _by_worker(body: Json | str) -> bool:
    text = body if isinstance(body, str) else json.dumps(body)
    found = decode(Message(text.encode(), spec.Basic.Properties(), None), Limits(1 << 20), _KEYS, _NOW)
    return isinstance(found, Arrival) and found.refusal is None


def _requests() -> list[tuple[list[str], Json]]:
    """Makes requests: some as the schema allows, and more that were changed."""
    maker = Maker(_DOCUMENT, random.Random(_SEED))  # noqa: S311 — a run is to be like the one before
    made = [(["as made"], maker.request()) for _ in range(_AS_MADE)]
    return made + [maker.mutated() for _ in range(_MUTATED)]


def test_schema_and_worker_agree_but_for_the_listed_kinds() -> None:
    kinds, seen = kinds_of(_DOCUMENT), Counter[str]()
    verdicts, done = Counter[bool](), Counter[str]()
    for how, request in _requests():
        done.update(how)
        taken = _by_worker(request)
        for validator in (_LENIENT, _WITH_FORMATS):
            if _by_schema(request, validator) == taken:
                verdicts[taken] += 1
                continue

            def judged(mended: Json, validator: Draft202012Validator = validator) -> tuple[bool, bool]:
                return _by_schema(mended, validator), _by_worker(mended)

            found = explaining(kinds, request, judged)
            assert found, f"schema and worker disagree on one ({how}; taken: {taken}): {json.dumps(request)}"
            if len(found) == 1:
                seen[found[0].name] += 1

    # Nothing here is true for want of cases.
    assert set(seen) == {kind.name for kind in kinds}
    assert set(done) == {"as made", "all in camelCase", *(name for name, _ in OPERATORS)}
    assert min(verdicts[True], verdicts[False]) > _MUTATED / 2


def test_the_contract_lists_these_kinds_and_no_other() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text("utf-8")
    table = contract.partition("| what | the schema | the worker |")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]

    assert [(name, said, done) for name, said, done, *_ in rows] == [
        (kind.name, *(("refuses", "takes") if kind.worker_takes_it else ("lets pass", "refuses")))
        for kind in kinds_of(_DOCUMENT)
    ]


_LEAST = '{"request_id": "3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001", "org_id": "o", "operation": "create_session"'


@pytest.mark.parametrize(
    "body",
    [
        f'\ufeff{_LEAST}, "payload": {{}}}}',
        f'{_LEAST}, "payload": {{}}, "payload": {{}}}}',
        f'{_LEAST}, "payload": {{}}, "metadata": {{"a": NaN}}}}',
        f'{_LEAST}, "payload": {{}}, "metadata": {{"a": 1e400}}}}',
        f'{_LEAST}, "payload": {{}}}}' + " " * (1 << 20),
    ],
    ids=["byte order mark", "a key twice", "NaN", "beyond a double", "too large"],
)
def test_what_no_validator_sees_is_refused_by_the_worker(body: str) -> None:
    """A validator judges what a parser made of the text, and parsers differ."""
    parsed = json.loads(body.removeprefix("\ufeff").replace("1e400", "1"))

    assert _by_schema({**parsed, "metadata": {}}, _LENIENT)
    assert not _by_worker(body)
    assert _by_worker(json.dumps(parsed | {"metadata": {}}))
