"""Finds what in a new version of the documents would break a client written against the old one.

A request must go on being accepted, so a new schema of requests may only accept more. A response must go
on being understood, so a new schema of responses may only promise more. A record is read like a
response, but its values are those that requests may have, and grow with them.
"""

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

Schema = dict[str, Any]


class Side(Enum):
    REQUEST = auto()
    RESPONSE = auto()
    RECORD = auto()


SIDES = {
    "create-session-request.schema.json": Side.REQUEST,
    "cancel-session-request.schema.json": Side.REQUEST,
    "create-session-response.schema.json": Side.RESPONSE,
    "session.schema.json": Side.RECORD,
}
_LOWER, _UPPER = ("minimum", "minLength"), ("maximum", "maxLength")
_ANYTHING = "anything"


def breaking(old: dict[str, Schema], new: dict[str, Schema]) -> list[str]:
    """Returns a sentence for each breaking change between two sets of documents."""
    found = [f"{name}: the document is gone" for name in old if name not in new]
    for name, side in SIDES.items():
        if name in old and name in new and old[name] != new[name]:
            found += [f"{name}: {problem}" for problem in changes(old[name], new[name], side)]
    if "asyncapi.json" in old and "asyncapi.json" in new:
        found += [
            f"asyncapi.json: {problem}" for problem in _transport(old["asyncapi.json"], new["asyncapi.json"])
        ]
    return found


def changes(old: Schema, new: Schema, side: Side) -> list[str]:
    return list(dict.fromkeys(_Comparison(old, new, side).of(old, new, "")))


class _Comparison:
    def __init__(self, old: Schema, new: Schema, side: Side) -> None:
        self._old, self._new, self._side = old, new, side
        self._seen: dict[tuple[str, str], list[str]] = {}

    def of(self, old: Schema, new: Schema, at: str) -> list[str]:
        names = old.get("$ref", ""), new.get("$ref", "")
        if all(names):
            # Named objects are compared once: they occur in many places, also inside themselves.
            if names not in self._seen:
                self._seen[names] = []
                place = names[0].rpartition("/")[2]
                self._seen[names] = list(self._resolved(old, new, place))
            return self._seen[names]
        return list(self._resolved(old, new, at))

    def _resolved(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        olds, news = _options(_target(self._old, old)), _options(_target(self._new, new))
        if len(olds) == 1 and len(news) == 1:
            yield from self._plain(_target(self._old, olds[0]), _target(self._new, news[0]), at)
            return
        # What was accepted has to stay so; what is promised must not become more kinds of things.
        request = self._side is Side.REQUEST
        for option in olds if request else news:
            others = news if request else olds
            tried = [
                self.of(option, other, at) if request else self.of(other, option, at) for other in others
            ]
            best = min(tried, key=len)
            if best:
                what = "is not accepted any more" if request else "is new: readers do not expect it"
                same = [
                    problems
                    for problems, other in zip(tried, others, strict=True)
                    if self._alike(option, other)
                ]
                yield from same[0] if same else [f"{at}: {self._label(option)} {what}"]

    def _alike(self, one: Schema, other: Schema) -> bool:
        return self._label(one) == self._label(other)

    def _label(self, schema: Schema) -> str:
        return str(schema.get("$ref", schema.get("const", schema.get("type", _ANYTHING)))).rpartition("/")[2]

    def _plain(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        yield from self._types(old, new, at)
        yield from self._values(old, new, at)
        yield from self._bounds(old, new, at)
        yield from self._fields(old, new, at)
        if "items" in old or "items" in new:
            yield from self.of(old.get("items", {}), new.get("items", {}), f"{at}[]")

    def _types(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, now = old.get("type", _ANYTHING), new.get("type", _ANYTHING)
        wider, narrower = (now, before) if self._side is Side.REQUEST else (before, now)
        if wider not in (narrower, _ANYTHING) and (narrower, wider) != ("integer", "number"):
            yield f"{at}: the type was {before} and is {now}"

    def _values(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, now = _values(old), _values(new)
        if self._side is Side.REQUEST and now is not None:
            gone = [value for value in before if value not in now] if before is not None else [_ANYTHING]
            if gone:
                yield f"{at}: no longer allowed: {gone}"
        if self._side is Side.RESPONSE and before is not None:
            added = [value for value in now if value not in before] if now is not None else [_ANYTHING]
            if added:
                yield f"{at}: readers do not expect: {added}"

    def _bounds(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if self._side is Side.RECORD:
            return
        outer, inner = (new, old) if self._side is Side.REQUEST else (old, new)
        how = "narrower" if self._side is Side.REQUEST else "wider"
        for name in _LOWER:
            if name in outer and inner.get(name, float("-inf")) < outer[name]:
                yield f"{at}: {name} is {how}"
        for name in _UPPER:
            if name in outer and inner.get(name, float("inf")) > outer[name]:
                yield f"{at}: {name} is {how}"
        for name in ("pattern", "format", "not", "propertyNames", "if", "then", "else"):
            if name in outer and inner.get(name) != outer[name]:
                yield f"{at}: {name} is another"

    def _fields(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in before:
            place = f"{at}.{name}".removeprefix(".")
            if name not in now:
                yield f"{place}: the property is gone"
                continue
            yield from self.of(before[name], now[name], place)
            was, is_ = (field.get("default") for field in (before[name], now[name]))
            if self._side is Side.REQUEST and was != is_:
                yield f"{place}: the default was {was!r} and is {is_!r}"
        required, needed = set(old.get("required", [])), set(new.get("required", []))
        if self._side is Side.REQUEST:
            yield from (
                f"{at}.{name}: is required now".removeprefix(".") for name in sorted(needed - required)
            )
            closed = new.get("additionalProperties", True) is False
            if closed and old.get("additionalProperties", True) is not False:
                yield f"{at}: unknown fields are refused now"
        else:
            gone = sorted(required - needed)
            yield from (
                f"{at}.{name}: was always there and may be absent now".removeprefix(".") for name in gone
            )
        kept, keeps = old.get("additionalProperties"), new.get("additionalProperties")
        if isinstance(kept, dict) and isinstance(keeps, dict):
            yield from self.of(kept, keeps, f"{at}.*")


def _target(root: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _options(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [schema])


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _transport(old: Schema, new: Schema) -> Iterator[str]:
    """Compares names, kinds, keys, types, properties and headers, on which a client of the broker relies."""
    for part, key in (("exchanges", "name"), ("queues", "name"), ("bindings", "queue")):
        before, now = old["x-topology"][part], new["x-topology"][part]
        for item in before:
            like = [_lasting(other) for other in now]
            if _lasting(item) not in like:
                yield f"{part}: {item[key]} is gone or another"
    yield from _kept(old, new, "channels", ("address", "bindings"))
    yield from _kept(old, new, "operations", ("action", "channel", "messages", "reply"))
    directions = _directions(old)
    for name, message in old["components"]["messages"].items():
        other = new["components"]["messages"].get(name)
        if other is None:
            yield f"the message {name} is gone"
            continue
        for field in ("name", "contentType", "bindings"):
            if message.get(field) != other.get(field):
                yield f"the message {name}: {field} is another"
        for part in ("headers", "x-amqp-properties"):
            side = directions.get(name, Side.RESPONSE)
            found = changes(message.get(part, {}), other.get(part, {}), side)
            yield from (f"the message {name}, {part}: {problem}" for problem in found)
    gone = [code for code in old["x-failure-codes"] if code not in new["x-failure-codes"]]
    yield from (f"the failure code {code} is gone" for code in gone)


def _lasting(item: Schema) -> Schema:
    """Keeps a queue's type and drops its limits. The worker may change the queue behind a request's key."""
    if item.get("exchange", "").endswith(".requests"):
        return {"exchange": item["exchange"], "key": item["key"]}
    kept = {name: value for name, value in item.items() if name != "arguments"}
    return kept | {"type": item["arguments"].get("x-queue-type")} if "arguments" in item else kept


def _kept(old: Schema, new: Schema, part: str, fields: tuple[str, ...]) -> Iterator[str]:
    for name, item in old[part].items():
        other = new[part].get(name)
        if other is None:
            yield f"{part}: {name} is gone"
            continue
        yield from (
            f"{part}: {name}: {field} is another"
            for field in fields
            if _plain_of(item.get(field)) != _plain_of(other.get(field))
        )


def _plain_of(value: Any) -> Any:
    """Removes the descriptions, which are for people."""
    if isinstance(value, dict):
        return {name: _plain_of(item) for name, item in value.items() if name != "description"}
    return value


def _directions(document: Schema) -> dict[str, Side]:
    sides = {"receive": Side.REQUEST, "send": Side.RESPONSE}
    return {
        message["$ref"].rpartition("/")[2]: sides[operation["action"]]
        for operation in document["operations"].values()
        for message in operation["messages"]
    }
