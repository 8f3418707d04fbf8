"""Operators that spoil a good request: each changes the document that it is given, at a random place."""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

Json = dict[str, Any]
Operator = Callable[[random.Random, Json], None]
Place = tuple[Any, Any]
"""A container, and the key or index of the value in it."""

_IRREGULAR = {"tool_calls", "tool_call_id"}


def second_spelling(name: str) -> str:
    """Returns the camelCase spelling of a field."""
    if name in _IRREGULAR or "_" not in name.strip("_"):
        return name
    head, *tail = name.split("_")
    if head == "open" and tail[0] == "ai":
        tail[0] = "AI"
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def camel_case(value: Any) -> Any:
    """Spells every name of an object in camelCase, also names that are data."""
    if isinstance(value, dict):
        return {second_spelling(name): camel_case(inner) for name, inner in value.items()}
    return [camel_case(inner) for inner in value] if isinstance(value, list) else value


def places(value: Any) -> Iterator[Place]:
    """Yields each place in a document, the outer ones first."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def _any_place(chance: random.Random, request: Json, *kinds: type) -> Place | None:
    """Picks a random place with a value of one of these types; sometimes one near the top, where few are."""
    found = [place for place in places(request) if not kinds or type(place[0][place[1]]) in kinds]
    if not found:
        return None
    return chance.choice(found[:8] if chance.random() < 0.3 else found)


def _an_object(chance: random.Random, request: Json) -> Json:
    place = _any_place(chance, request, dict)
    return request if place is None or chance.random() < 0.2 else place[0][place[1]]


def _put(chance: random.Random, request: Json, kinds: tuple[type, ...], make: Callable[[Any], Any]) -> None:
    if place := _any_place(chance, request, *kinds):
        container, key = place
        container[key] = make(container[key])


def _drop(chance: random.Random, request: Json) -> None:
    container = _an_object(chance, request)
    if container:
        del container[chance.choice(list(container))]


def _null(chance: random.Random, request: Json) -> None:
    _put(chance, request, (), lambda _: None)


def _another_type(chance: random.Random, request: Json) -> None:
    values: list[Any] = [True, False, 0, 1, 1.5, "", "1", "true", [], {}, [{}], {"type": "x"}, "object"]
    _put(chance, request, (), lambda _: deepcopy(chance.choice(values)))


def _unknown_field(chance: random.Random, request: Json) -> None:
    names = ["bogus", "Name", "name ", "__proto__", "maxTokens", "max_tokens", "id", "created_at", "async_"]
    _an_object(chance, request)[chance.choice(names)] = chance.choice([None, 1, "x", {}])


def _one_camel(chance: random.Random, request: Json) -> None:
    container = _an_object(chance, request)
    if names := [name for name in container if second_spelling(name) != name]:
        name = chance.choice(names)
        container[second_spelling(name)] = container.pop(name)


def _both_spellings(chance: random.Random, request: Json) -> None:
    container = _an_object(chance, request)
    if names := [name for name in container if second_spelling(name) != name]:
        name = chance.choice(names)
        container[second_spelling(name)] = deepcopy(container[name])


def _length(chance: random.Random, request: Json) -> None:
    length = chance.choice(
        [0, 1, 2, 3, 10, 11, 40, 41, 140, 141, 240, 241, 255, 256, 1000, 1001, 4097, 10001]
    )
    letter = chance.choice(["x", "\U0001f600", "\u0301", "0"])
    _put(chance, request, (str,), lambda _: letter * length)


def _longer_by_one(chance: random.Random, request: Json) -> None:
    _put(chance, request, (str,), lambda text: text + chance.choice(["\n", " ", "x", "\u2028"]))


def _number(chance: random.Random, request: Json) -> None:
    numbers: list[Any] = [
        -1, 0, 0.4999, 0.5, 1, 2.5, 3, 9, 10, 11, 49, 50, 59.999, 60, 300, 301, 600, 601, 3600.0000001, 10000,
        10001, 43200, 43201, 2592000, 2592001, -1e300, 2**53 + 1, 2**64, 10**300, 1e-300, -0.0,
    ]  # fmt: skip
    _put(chance, request, (int, float), lambda _: chance.choice(numbers))


def _beyond_a_double(chance: random.Random, request: Json) -> None:
    _put(chance, request, (int, float), lambda _: chance.choice([10**309, -(10**400)]))


def _character(chance: random.Random, request: Json) -> None:
    bad = chance.choice(["\x00", "\ud800", "\udfff"])
    if chance.random() < 0.8:
        _put(chance, request, (str,), lambda text: text[:-1] + bad if text else bad)
    else:
        _an_object(chance, request)[f"key{bad}"] = 1


def _value(chance: random.Random, request: Json) -> None:
    changes: list[Callable[[str], str]] = [str.upper, str.title, str.strip, lambda text: text[1:]]
    _put(chance, request, (str,), chance.choice(changes))


def _list(chance: random.Random, request: Json) -> None:
    def change(items: list[Any]) -> list[Any]:
        return chance.choice([[], items * 2, [*items, None], [*items, {}], [items], items[::-1]])

    _put(chance, request, (list,), lambda items: deepcopy(change(items)))


def _moved(chance: random.Random, request: Json) -> None:
    source, target = _any_place(chance, request), _any_place(chance, request)
    if source and target:
        target[0][target[1]] = deepcopy(source[0][source[1]])


_MOMENTS = (
    "", "now", "2025", "2025-10", "2025-10-13", "20251013T143000Z", "2025-W42-1", "2025-W54-1", "2025-W42-8",
    "2025-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2025-13-01", "0000-01-01", "2025-10-13T24:30:00Z",
    "2025-10-13T23:59:60Z", "2025-10-13 14:30:00+00:00", "2025-10-13_14:30", "2025-10-13T14:30:00+24:00",
    "2025-10-13T14:30:00+02:00:30", "2025-10-13T14:30:00.", "2025-10-13T14:30", "2025-10-13T14Z",
    "2025-10-13T14:30:00,5Z", "2025-10-13T14:30:00", "2025-10-13T14:30:00Z ", "1760365800",
    "Mon, 13 Oct 2025 14:30:00 GMT", "2025-10-13t14:30:00z", "\uff12025-10-13",
)  # fmt: skip


def _moment(chance: random.Random, request: Json) -> None:
    sessions = [
        container for container, key in places(request)
        if key in ("expires_at", "expiresAt") and isinstance(container, dict)
    ]  # fmt: skip
    if sessions and chance.random() < 0.5:
        chance.choice(sessions)["expires_at"] = chance.choice(_MOMENTS)
    else:
        request["timestamp"] = chance.choice(_MOMENTS)


def _expiring(chance: random.Random, request: Json) -> None:
    tokens = {
        "provider": "ghl.oauth2-authorization",
        "authentication_session": {"expires_at": chance.choice(_MOMENTS)},
    }
    request["payload"] = {"assistant": {"credentials": [tokens]}}


_IDS = (
    "order-17", "", "3f0f8a523b0e4a0e9d3c0a6f5a4be001", "{3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001}",
    "urn:uuid:3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001", "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "FFFFffff-FFFF-ffff-FFFF-ffffffffffff",
    "3F0F8A52-3b0e-4a0e-9d3c-0a6f5a4be001", "00000000-0000-0000-0000-000000000001",
    "3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be00", "3f0f8a5-23b0e-4a0e-9d3c-0a6f5a4be001",
)  # fmt: skip


def _id(chance: random.Random, request: Json) -> None:
    request["request_id"] = chance.choice(_IDS)


def _telephone(chance: random.Random, request: Json) -> None:
    numbers = [
        "+14155550123",
        "4912345",
        "+0123",
        "+1",
        "abc",
        "+49 12345",
        "1" * 41,
        "+1234567890123456",
        5,
        None,
    ]
    payload = request.get("payload")
    customer: Json = {"number": chance.choice(numbers)}
    if (switch := chance.choice([True, False, None, ..., 0, "false"])) is not ...:
        customer[chance.choice(["number_e164_check_enabled", "numberE164CheckEnabled"])] = switch
    if isinstance(payload, dict):
        payload["customer"] = customer


def _deep(chance: random.Random, request: Json) -> None:
    value: Any = 1
    for _ in range(chance.choice([50, 97, 98, 99, 120])):
        value = [value] if chance.random() < 0.5 else {"a": value}
    request["metadata"] = {"deep": value}


OPERATORS: tuple[tuple[str, Operator], ...] = (
    ("a field goes", _drop),
    ("null", _null),
    ("another type", _another_type),
    ("an unknown field", _unknown_field),
    ("a field in camelCase", _one_camel),
    ("both spellings", _both_spellings),
    ("another length", _length),
    ("a character more", _longer_by_one),
    ("another number", _number),
    ("a number beyond a double", _beyond_a_double),
    ("a character that cannot be stored", _character),
    ("another value", _value),
    ("another list", _list),
    ("a value from elsewhere", _moved),
    ("another moment", _moment),
    ("a token that expires", _expiring),
    ("another id", _id),
    ("another telephone number", _telephone),
    ("deep", _deep),
)
