"""Each constraint of the field facts lets allowed values pass, and names forbidden ones."""

import json
import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from support.contract.constraints import CHOICES, ENUMS, LENGTHS, PLACES, RANGES, REQUIRED
from support.contract.everything import EVERYTHING

from schemas import CreateSessionPayload, field_errors

ABSENT = object()
TEXT = json.dumps(EVERYTHING)  # a copy of it shares nothing between its places


def places(path: str) -> list[str]:
    head, dot, rest = path.partition(".")
    return [place + dot + rest for place in PLACES.get(head, (head,))]


def changed(path: str, value: object) -> dict[str, Any]:
    """Returns the payload that holds everything, with another value (or none) at one path."""
    payload: dict[str, Any] = json.loads(TEXT)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = payload
    for part in way:
        target = target[part]
    if value is ABSENT:
        del target[last]
    else:
        target[last] = value
    return payload


def reasons(payload: dict[str, Any]) -> dict[str, str]:
    try:
        CreateSessionPayload.model_validate(payload)
    except ValidationError as error:
        return {item["field"]: item["reason"] for item in field_errors(error)}
    return {}


def each(rows: list[Any]) -> list[Any]:
    return [pytest.param(place, *row[1:], id=place) for row in rows for place in places(row[0])]


@pytest.mark.parametrize(("path", "low", "high"), each(RANGES))
def test_numbers(path: str, low: float, high: float) -> None:
    for good in (low, high):
        if math.isfinite(good):
            assert reasons(changed(path, good)) == {}
            assert reasons(changed(path, float(good))) == {}
    too_low = [low - 1, low - 0.001] if math.isfinite(low) else []
    too_high = [high + 1, high + 0.001] if math.isfinite(high) else []
    for bad in (*too_low, *too_high, "60", True, [], math.nan, math.inf, -math.inf):
        found = reasons(changed(path, bad))
        assert list(found) == [path]
        assert found[path].startswith("must be a")
        for bound in (low, high):
            assert not math.isfinite(bound) or str(bound) in found[path]


@pytest.mark.parametrize(("path", "shortest", "longest"), each(LENGTHS))
def test_lengths(path: str, shortest: int, longest: int) -> None:
    assert reasons(changed(path, "é" * shortest)) == {}
    assert reasons(changed(path, "é" * longest)) == {}
    assert reasons(changed(path, "x" * (longest + 1))) == {path: f"must have at most {longest} characters"}
    if shortest:
        assert reasons(changed(path, "x" * (shortest - 1))) == {
            path: f"must have at least {shortest} characters"
        }
    assert reasons(changed(path, 5)) == {path: "must be a string"}


@pytest.mark.parametrize(("path", "allowed"), each(ENUMS))
def test_enums(path: str, allowed: list[str]) -> None:
    for value in allowed:
        assert reasons(changed(path, value)) == {}
    for bad in ("n0t-one", 987654321, allowed[-1].upper() + "~"):
        found = reasons(changed(path, bad))
        assert list(found) == [path]
        assert repr(allowed[0]) in found[path]
        assert str(bad) not in found[path]


@pytest.mark.parametrize(("path", "allowed"), each(CHOICES))
def test_what_chooses_a_variant(path: str, allowed: list[str]) -> None:
    found = reasons(changed(path, "n0t-one"))
    assert list(found) == [path]
    assert found[path].startswith("must be one of ")
    assert "n0t-one" not in found[path]
    assert all(repr(value) in found[path] for value in allowed)
    assert reasons(changed(path, ABSENT)) == {path: "is required"}
    assert list(reasons(changed(path, 5))) == [path]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{place}.{name}", id=f"{place}.{name}")
        for row, names in REQUIRED
        for place in places(row)
        for name in names.split()
    ],
)
def test_required_fields(path: str) -> None:
    assert reasons(changed(path, ABSENT)) == {path: "is required"}


def objects(model: object, path: str) -> list[tuple[str, BaseModel]]:
    if isinstance(model, list):
        return [
            found
            for index, item in enumerate(model)
            for found in objects(item, f"{path}.{index}" if path else str(index))
        ]
    if not isinstance(model, BaseModel):
        return []
    inside = (
        objects(getattr(model, name), (f"{path}." if path else "") + name.strip("_"))
        for name in sorted(model.model_fields_set & set(type(model).model_fields))
    )
    return [(path, model), *(found for many in inside for found in many)]


OBJECTS = objects(CreateSessionPayload.model_validate(EVERYTHING), "")


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        pytest.param(path, model.model_config["extra"] == "allow", id=path or "payload")
        for path, model in OBJECTS
    ],
)
def test_unknown_fields(path: str, kept: bool) -> None:
    place = f"{path}.unknown_Field" if path else "unknown_Field"
    payload = changed(place, {"any": "thing"})
    if kept:
        assert CreateSessionPayload.model_validate(payload).model_dump(exclude_unset=True) == payload
    else:
        assert reasons(payload) == {place: "is not a known field"}


def test_only_provider_blocks_keep_what_they_do_not_know() -> None:
    keeping = {path for path, model in OBJECTS if model.model_config["extra"] == "allow"}
    assert keeping == {
        f"{assistant}.{block}"
        for assistant in ("assistant", "customer.assistant_overrides")
        for block in ("model", "model.messages.0", "voice", "transcriber")
    }


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{path}.{name}" if path else name, id=f"{path}.{name}" if path else name)
        for path, model in OBJECTS
        for name, value in model
        if name in model.model_fields_set
        and name in type(model).model_fields
        and not type(model).model_fields[name].is_required()
        and name.strip("_") == name
    ],
)
def test_null_is_as_good_as_absent(path: str) -> None:
    assert reasons(changed(path, None)) == {}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{path}.{name}" if path else name, id=f"{path}.{name}" if path else name)
        for path, model in OBJECTS
        for name, value in model
        if isinstance(value, bool) and name.strip("_") == name
    ],
)
def test_booleans(path: str) -> None:
    for good in (True, False):
        # What else the switch of a number does has its own test.
        assert path not in reasons(changed(path, good))
    none_of_them: list[object] = ["true", 1, 0, []]
    for bad in none_of_them:
        assert reasons(changed(path, bad)) == {path: "must be true or false"}
