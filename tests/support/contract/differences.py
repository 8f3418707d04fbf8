"""Lists the few kinds of requests on which schema and worker disagree; docs/contract.md lists the same ones.

Each kind knows how to mend a request. On a mended request both agree.
"""

import re
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from typing import Any, NamedTuple

from support.contract.mutations import places, second_spelling

Json = dict[str, Any]
_DEEPEST = 50
_LARGEST = 1.7976931348623157e308
_MOMENT = "2026-01-02T03:04:05Z"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Kind(NamedTuple):
    name: str
    """As docs/contract.md has it."""
    worker_takes_it: bool
    mended: Callable[[Json], Json]


def kinds_of(document: Json) -> tuple[Kind, ...]:
    """Returns the kinds, for requests of this document."""
    snake = {second_spelling(name): name for name in _field_names(document)}
    iso_8601 = document["properties"]["timestamp"]["anyOf"][0]["pattern"]

    def spelled_otherwise(text: str) -> bool:
        return _is_read(text) and (not re.search(iso_8601, text) or text[10:11] == " ")

    def on_no_calendar(text: str) -> bool:
        return not _is_read(text) and re.search(iso_8601, text) is not None

    return (
        Kind("camelCase", True, lambda request: _renamed(request, snake)),
        Kind("other spellings of a time", True, lambda request: _timely(request, spelled_otherwise)),
        Kind("the calendar", False, lambda request: _timely(request, on_no_calendar)),
        Kind("characters", False, _storable),
        Kind("numbers", False, _within_a_double),
        Kind("nesting", False, lambda request: _cut(request, 1)),
    )


def _field_names(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        names = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
        return names.union(*(_field_names(part) for part in schema.values()))
    return set().union(*(_field_names(part) for part in schema)) if isinstance(schema, list) else set()


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(name, name): _renamed(inner, names) for name, inner in value.items()}
    return [_renamed(inner, names) for inner in value] if isinstance(value, list) else value


def _is_read(text: str) -> bool:
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _timely(request: Json, is_wrong: Callable[[str], bool]) -> Json:
    """Replaces every time that is wrong in this way."""
    mended = deepcopy(request)
    for container, key in places(mended):
        if key in {"timestamp", "expires_at", "expiresAt"}:
            text = container[key]
            if isinstance(text, str) and is_wrong(text):
                container[key] = _MOMENT
    return mended


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("x", value)
    if isinstance(value, dict):
        return {_storable(name): _storable(inner) for name, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value


def _within_a_double(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _within_a_double(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_within_a_double(inner) for inner in value]
    is_beyond = isinstance(value, int) and not -_LARGEST <= value <= _LARGEST
    return (_LARGEST if value > 0 else -_LARGEST) if is_beyond else value


def _cut(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if depth > _DEEPEST:
        return type(value)()
    if isinstance(value, dict):
        return {name: _cut(inner, depth + 1) for name, inner in value.items()}
    return [_cut(inner, depth + 1) for inner in value]


Judge = Callable[[Json], tuple[bool, bool]]
"""The verdicts of schema and worker."""


def explaining(kinds: tuple[Kind, ...], request: Json, judged: Judge) -> list[Kind]:
    """Returns the kinds that explain a request's two verdicts: one if one is enough, none if none does."""
    _, taken = judged(request)
    possible = [kind for kind in kinds if kind.worker_takes_it == taken]
    for kind in possible:
        if _is_one(judged(kind.mended(request))):
            return [kind]
    several = [kind for kind in possible if kind.mended(request) != request]
    mended = request
    for kind in several:
        mended = kind.mended(mended)
    return several if _is_one(judged(mended)) else []


def _is_one(verdicts: tuple[bool, bool]) -> bool:
    return verdicts[0] == verdicts[1]
