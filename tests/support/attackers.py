"""Messages that keep every limit and are made to take as much time and memory as can be."""

import json
import struct
from typing import NamedTuple
from uuid import UUID

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")


class Attack(NamedTuple):
    body: bytes
    verdict: str | None  # None: it is served


def request(payload: str = "{}", metadata: str = "{}", request_id: UUID = ID) -> bytes:
    return (
        f'{{"request_id":"{request_id}","org_id":"evil","operation":"create_session",'
        f'"payload":{payload},"metadata":{metadata}}}'
    ).encode()


def _many(item: str, count: int) -> str:
    return f"[{','.join([item] * count)}]"


def _tools(tool: str) -> str:
    return f'{{"assistant":{{"model":{{"provider":"openai","model":"gpt-4o","tools":[{tool}]}}}}}}'


def _members(count: int, value: str = "1") -> str:
    return "{" + ",".join(f'"{number:06d}":{value}' for number in range(count)) + "}"


def _open_text(quotes: int, request_id: UUID) -> bytes:
    return ('{"a":"' + '\\"' * quotes + f'"request_id":"{request_id}"').encode()


def attacks(request_id: UUID = ID) -> dict[str, Attack]:
    """Returns messages that attackers have tried, and others like them, by their names."""

    def of(verdict: str | None, payload: str = "{}", metadata: str = "{}") -> Attack:
        return Attack(request(payload, metadata, request_id), verdict)

    messages = ",".join(
        f'{{"role":"user","message":"line {n}","time":1,"end_time":2,"seconds_from_start":1}}'
        for n in range(11_000)
    )
    model = '{"provider":"openai","model":"gpt-4o","messages":%s}'
    return {
        "zeros below a key": of(None, metadata='{"a":"\\u0041","%s":%s}' % ("k" * 60_000, _many("0", 15_000))),
        "zeros below a long key": of(None, metadata='{"a":"\\u0041","%s":%s}' % ("k" * 350_000, _many("0", 340_000))),
        "a NUL beside a long key": of("invalid_request", metadata='{"%s":["\\u0000"]}' % ("k" * 900_000)),
        "secrets below a long key": of("invalid_request", _tools('{"%s":{"headers":%s}}' % ("k" * 450_000, _members(50_000)))),
        "the most secrets below a long key": of(None, _tools('{"%s":{"headers":%s}}' % ("k" * 900_000, _members(4_900)))),
        "numbers below a long key": of(None, _tools('{"%s":%s,"token":"x"}' % ("k" * 500_000, _many("0", 250_000)))),
        "arrays 97 deep": of("invalid_request", metadata='{"a":%s}' % _many("[" * 97 + "]" * 97, 5_000)),
        "the most arrays 97 deep": of(None, metadata='{"a":%s}' % _many("[" * 97 + "]" * 97, 510)),
        "values of headers": of("invalid_request", '{"assistant":{"server":{"url":"https://a.b","headers":%s}}}' % _members(80_000, '"1"')),
        "empty objects": of("invalid_request", metadata='{"a":"\\u0041","b":%s}' % _many("{}", 340_000)),
        "the most objects": of(None, metadata='{"a":"\\u0041","b":%s}' % _many('{"":0}', 49_990)),
        "messages of a model": of(None, '{"assistant":{"model":%s}}' % model % _many('{"role":"user","content":"a"}', 28_000)),
        "credentials": of("invalid_request", '{"assistant":{"credentials":%s}}' % _many('{"provider":"openai","api_key":"k"}', 27_000)),
        "bad messages": of("invalid_request", '{"messages":%s}' % _many("1", 340_000)),
        "keys": of(None, metadata=_members(95_000)),
        "a key twice among many": of("invalid_request", metadata=_members(90_000)[:-1] + ',"000001":1}'),
        "whole numbers of many digits": of("invalid_request", metadata='{"a":%s}' % _many("9" * 4_300, 240)),
        "whole numbers of the most digits": of(None, metadata='{"a":%s}' % _many("9" * 308, 3_300)),
        "fractions": of(None, metadata='{"a":%s}' % _many("1e1", 250_000)),
        "escaped quotes in a text without an end": Attack(_open_text(500_000, request_id), "invalid_request"),
        "a few of them": Attack(_open_text(16_000, request_id), "invalid_request"),
        "one text": of(None, metadata=json.dumps({"a": "x" * 1_000_000})),
        "a history of 11,000 messages": of(None, '{"messages":[%s]}' % messages),
    }  # fmt: skip


def header_of_booleans() -> bytes:
    """Returns an encoded table with one array of booleans that fills a frame."""
    items = b"t\x01" * 65_000
    content = b"\x01xA" + struct.pack(">I", len(items)) + items
    return struct.pack(">I", len(content)) + content
