"""Makes hostile messages. Each is known by its number, and is the same on every machine and in every run."""

import gzip
import json
import random
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from fuzz.spelling import spelled
from pamqp import commands as spec
from support.contract.everything import EVERYTHING
from support.contract.made_requests import Maker
from support.contract.mutations import OPERATORS, camel_case
from support.contract.secret_payloads import CREDENTIALS, secret_payloads

from schemas.wire import CANCEL_TYPE, RESPONSE_TYPE
from worker.messages.envelope import Message

Json = dict[str, Any]
SEED = 20260102
_ROOT = Path(__file__).parents[2]
_EXAMPLES = [
    json.loads(file.read_text("utf-8")) for file in sorted((_ROOT / "tests/contract/examples").glob("*.json"))
]
_SCHEMA = json.loads((_ROOT / "schemas/json/create-session-request.schema.json").read_text("utf-8"))
_SECRETS = [each.payload for each in secret_payloads()]
_MODEL = {"provider": "openai", "model": "gpt-4o"}
_SMALL, _LARGE = 28_000, 300_000  # bytes that a message grows to, mostly and seldom
_SELDOM = 0.02


class Case(NamedTuple):
    """A message, and how it comes."""

    body: bytes
    properties: Json
    taken_by_broker: str | None = None
    delivery_count: int = 0
    sent_to_cancel: bool = False

    def message(self, body: bytes | None = None) -> Message:
        """Return it as a worker takes it; with another body if one is given."""
        return Message(
            body=self.body if body is None else body,
            properties=spec.Basic.Properties(**self.properties),
            taken_by_broker=self.taken_by_broker,
            sent_to_cancel=self.sent_to_cancel,
            delivery_count=self.delivery_count,
        )


def case(number: int, seed: int = SEED) -> Case:
    """Make the case of this number."""
    chance = random.Random((seed << 40) + number)  # noqa: S311 — a run is to be like the one before
    document = _document(chance)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3))):
        chance.choice(OPERATORS)[1](chance, document)
    if chance.random() < 0.3:
        _grow(document, chance)
    body = _written(document, chance)
    for _ in range(chance.choice((0, 0, 0, 0, 1, 1, 2))):
        body = chance.choice(_SPOILERS)(body, chance)
    return Case(
        body=body,
        properties=_properties(chance),
        taken_by_broker=chance.choice((None,) * 20 + ("expired", "delivery_limit")),
        delivery_count=chance.choice((0,) * 10 + (1, 3, 20)),
        sent_to_cancel=chance.random() < 0.03,
    )


def _document(chance: random.Random) -> Json:
    made: Json = {
        "request_id": str(UUID(int=chance.getrandbits(128), version=4)),
        "org_id": chance.choice(("org-1", "o", "\u00e9" * 255, "evil\u202e")),
        "operation": "create_session",
    }
    kind = chance.random()
    if kind < 0.25:
        return Maker(_SCHEMA, chance).request()
    if kind < 0.35:
        del made["org_id"]
        reason = chance.choice(("", "gone", "x" * 501, None))
        return made | {"operation": "cancel_session", "reason": reason}
    if kind < 0.38:
        return {"request_id": made["request_id"], "status": "completed", "payload": {"session_id": "ts_1"}}
    made["payload"] = deepcopy(chance.choice(_payloads(chance)))
    for name, values in _BESIDE.items():
        if chance.random() < 0.2:
            made[name] = deepcopy(chance.choice(values))
    return camel_case(made) if chance.random() < 0.1 else made


def _payloads(chance: random.Random) -> list[Json]:
    kind = chance.random()
    if kind < 0.3:
        return _EXAMPLES
    if kind < 0.5:
        return _SECRETS
    if kind < 0.6:
        return [{"assistant": {"credentials": [each]}} for each in CREDENTIALS]
    return [EVERYTHING] if kind < 0.65 else [{}, {"name": "a"}]


_BESIDE: dict[str, tuple[Any, ...]] = {
    "metadata": ({}, None, {"a": None}, {"request_id": str(UUID(int=7))}, {"token": "sealed:v1:k1:AAAA"}),
    "user_id": (None, "", "u" * 255, "\U0001f600"),
    "timestamp": ("2026-01-02T03:04:05Z", "2026-W01-1", None, "0001-01-01T00:00:00+23:59", "9999-12-31"),
    "requestId": (str(UUID(int=9)),),
}


def _grow(document: Json, chance: random.Random) -> None:
    """Put something large into it: many of one thing, perhaps below a long name, perhaps deep."""
    most = chance.uniform(*((_SMALL, _LARGE) if chance.random() < _SELDOM else (3, _SMALL)))
    size = int(chance.choice((most, most, most**0.5 * 3)))
    share = chance.choice((0.0, 0.1, 0.5, 0.9))
    name = chance.choice(("k", "\u00e9", "\u0301", '"', "\\", "headers", "token")) * int(
        size * share / 3 or 1
    )
    value = chance.choice(_LARGE_ONES)(max(1, int(size * (1 - share))), chance)
    if chance.random() < 0.5:
        value = {name: value}
    if chance.random() < 0.2:
        for _ in range(chance.choice((1, 10, 90, 96, 97, 98, 120, 2_000))):
            value = [value] if chance.random() < 0.5 else {"": value}
    chance.choice(_PLACES)(document, value)


def _lists(*items: Any) -> Callable[[int, random.Random], Any]:
    def make(size: int, chance: random.Random) -> Any:
        item = chance.choice(items)
        return [item] * (size // (len(json.dumps(item)) + 1) + 1)

    return make


def _members(size: int, chance: random.Random) -> Any:
    value: Any = chance.choice((0, 1.5, "x", None, True, {}, [], {"token": "s"}))
    name = chance.choice(("{}", "{:05}", "token{}", "X-{}-headers", "{}" + "\u00e9" * 9))
    each = len(json.dumps({name.format(10_000): value}, ensure_ascii=False))
    return {name.format(number): value for number in range(size // each + 1)}


def _text(size: int, chance: random.Random) -> Any:
    return (
        chance.choice(("x", '\\"', "\\", '"', "\u2028", "\U0001f600", "\x7f", "{", "[{", "\x00", "\ud800"))
        * size
    )


_LARGE_ONES: tuple[Callable[[int, random.Random], Any], ...] = (
    _lists(0, 1, -1, 1.5, 1e300, 10**15, 9007199254740993),
    _lists("", "x", "\x00", "\ud800", "a" * 100, "\u00e9", True, None),
    _lists({}, [], {"": 0}, [[]], {"a": {}}, {"a": [{}]}),
    _lists({"token": "x"}, {"headers": {"a": "b"}}, {"credentials": ["x"]}, {"a": {"password": 1}}),
    _lists({"role": "user", "message": "a", "time": 1}, {"role": "user"}, {"role": "x"}, {"role": None}),
    _lists({"provider": "openai", "api_key": "k"}, {"provider": "openai"}, {"provider": "none"}),
    _lists(
        {"type": "function"}, {"type": "dtmf"}, {"type": "transferCall", "destinations": [{"type": "number"}]}
    ),
    _members,
    _text,
    lambda size, chance: int(chance.choice("19") * min(size, 4_000)),
)


def _put(*path: str) -> Callable[[Json, Any], None]:
    """Make what puts a value at a place, with the objects that lead there."""

    def put(document: Json, value: Any) -> None:
        place = document
        for name in path[:-1]:
            inner = place.get(name)
            place[name] = place = inner if isinstance(inner, dict) else dict(_NEEDED.get(name, {}))
        place[path[-1]] = value

    return put


_NEEDED: dict[str, Json] = {
    "model": _MODEL,
    "voice": {"provider": "vapi", "voice_id": "Elliot"},
    "server": {"url": "https://a.example"},
    "org_id": {},
}
_PLACES: tuple[Callable[[Json, Any], None], ...] = (
    _put("metadata"),
    _put("metadata", "a"),
    _put("payload"),
    _put("payload", "messages"),
    _put("payload", "name"),
    _put("payload", "unknown"),
    _put("payload", "assistant", "credentials"),
    _put("payload", "assistant", "model", "messages"),
    _put("payload", "assistant", "model", "tools"),
    _put("payload", "assistant", "model", "of_its_own"),
    _put("payload", "assistant", "voice", "of_its_own"),
    _put("payload", "assistant", "server", "headers"),
    _put("payload", "assistant", "hooks"),
    _put("payload", "assistant", "metadata"),
    _put("payload", "assistant_overrides", "variable_values"),
    _put("payload", "customer", "assistant_overrides", "variable_values"),
    _put("org_id"),
    _put("operation"),
    _put("request_id"),
    _put("timestamp"),
    _put("bogus"),
)


def _written(document: Json, chance: random.Random) -> bytes:
    """Write it as one of many producers would."""
    way = chance.random()
    try:
        if way < 0.5:
            return json.dumps(document).encode()
        if way < 0.7:
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "surrogatepass")
        if way < 0.8:
            return spelled(document, chance)
        if way < 0.98:
            return json.dumps(document, separators=("\n,\t", " :\r\n")).encode()
        return json.dumps(document, indent=1).encode()  # takes ten times as long
    except RecursionError:
        return b"[" * 5_000


_TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\u0041", b"\x00", b"\xff",
    b"NaN", b"-Infinity", b"1e400", b"-", b"0x1", b"1" * 400, b"1" * 5_000, b"\xef\xbb\xbf", b"/**/", b"null",
    b'"request_id":"00000000-0000-0000-0000-000000000000",',
    b'{"request_id":"3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001"}', b'"payload":{},', b'"org_id":"other",',
    b"[" * 200, b'{"a":' * 200, b"\xed\xa0\x80", b"\xc0\x80", "\u2028".encode(),
)  # fmt: skip


def _insert(body: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(body))
    return body[:place] + chance.choice(_TOKENS) + body[place:]


def _cut(body: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(body))
    return body[:place] if chance.random() < 0.5 else body[place:]


def _without(body: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(body))
    return body[:place] + body[place + chance.choice((1, 2, 30)) :]


def _twice(body: bytes, chance: random.Random) -> bytes:
    start = chance.randint(0, len(body))
    part = body[start : start + chance.choice((1, 20, 200))]
    return body[:start] + part * chance.choice((2, 2, 50)) + body[start:]


def _flip(body: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(body)) if body else 0
    return body[:place] + bytes([chance.randrange(256)]) + body[place + 1 :]


def _encoded(body: bytes, chance: random.Random) -> bytes:
    text = body.decode("utf-8", "replace")
    how = chance.choice(("utf-16", "utf-32", "latin-1", "utf-8-sig", "gzip", "utf-7"))
    return gzip.compress(body, mtime=0) if how == "gzip" else text.encode(how, "replace")


_SPOILERS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _insert, _insert, _insert, _cut, _without, _twice, _flip, _encoded,
)  # fmt: skip

_TEXTS: tuple[Any, ...] = (
    "", "q", "reply-1", str(UUID(int=5)), "\U0001f600" * 63, "a" * 255, "\x00", "\x1b[2J", "amq.gen-x",
    bytearray(b"\xff\xfe"), "amq.rabbitmq.reply-to.g1h2AA8VcmVwbHlAxxxx==.yyyy==",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**62, -(2**63), 1.5, float("nan"), float("inf"), "", "tomorrow",
    "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-23:59", "1767323045000", "1767323045000.5",
    bytearray(b"\xff"), Decimal("1.5"), [1, [2]],
    {"a": {"b": []}}, datetime(2026, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), "1" * 500,
)  # fmt: skip
_HEADERS = ("deadline", "not_before", "traceparent", "timestamp_in_ms", "authorization", "x" * 120, "x-death")
_PROPERTIES: dict[str, tuple[Any, ...]] = {
    "reply_to": _TEXTS,
    "correlation_id": _TEXTS,
    "message_id": _TEXTS,
    "app_id": _TEXTS,
    "content_type": ("application/json", "text/plain", ""),
    "content_encoding": ("", "utf-8", "gzip", "identity", "GZIP, br"),
    "message_type": ("CreateSessionRequest", CANCEL_TYPE, RESPONSE_TYPE, "x"),
    "expiration": ("0", "1000", "x", "-5", "9" * 40, "1.5"),
    "timestamp": (datetime(2026, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), datetime(1970, 1, 1)),  # noqa: DTZ001 — as the library reads one
}


def _properties(chance: random.Random) -> Json:
    if chance.random() < 0.4:
        return {"reply_to": "q", "correlation_id": "c"}
    made: Json = {}
    for name, values in _PROPERTIES.items():
        if chance.random() < 0.12:
            made[name] = chance.choice(values)
    if chance.random() < 0.3:
        made["headers"] = {
            chance.choice(_HEADERS): chance.choice(_VALUES) for _ in range(chance.choice((1, 1, 2, 4)))
        }
    return made
