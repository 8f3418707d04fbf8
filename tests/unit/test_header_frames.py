"""Headers of messages are read and written as the client library does it, whatever they hold."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp import commands as spec
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from worker.rabbitmq.header_frames import header_frame, read_properties

TEXTS = ["", "a", "application/json", "ü" * 127, "x" * 255, "\U0001f600"]
VALUES: dict[str, list[Any]] = {
    "headers": [
        {},
        {"a": 1},
        {"traceparent": "00-1", "n": {"b": [1, None, True]}, "w": datetime.now(UTC)},
    ],
    "delivery_mode": [1, 2],
    "priority": [0, 9],
    "timestamp": [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
    "cluster_id": [""],
}


def by_the_library(header: bytes) -> spec.Basic.Properties:
    frame = ContentHeader()
    frame.unmarshal(header)
    return frame.properties


def outcome(read: Callable[[bytes], spec.Basic.Properties], header: bytes) -> object:
    try:
        return repr(dict(read(header)))
    except Exception as error:  # noqa: BLE001 — which one it is, is compared
        return type(error)


@pytest.mark.parametrize("seed", range(3))
def test_headers_are_those_of_the_library_also_when_they_are_damaged(seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311 — the same each time
    for _ in range(300):
        given = {
            name: choice.choice(VALUES.get(name, TEXTS))
            for name in spec.Basic.Properties.__slots__
            if choice.random() < 0.4
        }
        properties = spec.Basic.Properties(**given)
        size, channel = choice.randrange(1 << 40), choice.randrange(1 << 16)

        frame = header_frame(channel, properties, size)

        assert frame == marshal(ContentHeader(properties=properties, body_size=size), channel)
        header = frame[7:-1]
        assert dict(read_properties(header)) == dict(by_the_library(header))
        damaged = bytearray(header[: choice.randrange(len(header) + 1)])
        for _ in range(choice.randrange(3)):
            if damaged:
                damaged[choice.randrange(len(damaged))] = choice.randrange(256)
        assert outcome(read_properties, bytes(damaged)) == outcome(by_the_library, bytes(damaged))


def test_a_text_that_no_header_can_hold_is_refused_as_by_the_library() -> None:
    too_long = spec.Basic.Properties(message_id="ü" * 128)

    with pytest.raises(TypeError):
        marshal(ContentHeader(properties=too_long), 1)
    with pytest.raises(TypeError):
        header_frame(1, too_long, 0)
