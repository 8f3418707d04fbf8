"""Header tables of any producer are read as far as they can be, in little time."""

import struct
import time
from typing import Any

import pytest
from pamqp import decode
from support.raw_amqp import table

from worker.client import BrokerUnreachable, Client
from worker.rabbitmq import lenient_reading

MOST = 131_072 - 200  # what a frame leaves for them
DEADLINE = {b"deadline": b"l" + struct.pack(">q", 1767322800000)}
NOT_BEFORE = {b"not_before": b"l" + struct.pack(">q", 1767319200000)}
BROKER = {b"x-delivery-count": b"l" + struct.pack(">q", 3)}
TOO_LATE = b"T" + struct.pack(">Q", 1 << 63)


def array(items: bytes) -> bytes:
    return b"A" + struct.pack(">I", len(items)) + items


def numbered(count: int, value: bytes) -> dict[bytes, bytes]:
    return {b"%x" % number: value for number in range(count)}


LARGE = {
    "an array of booleans": {b"a": array(b"t\x01" * 65_000)},
    "many arrays of booleans": {b"a%d" % n: array(b"t\x01" * 500) for n in range(100)},
    "many small arrays": numbered(9_000, array(b"V")),
    "an array of arrays": {b"a": array(array(b"V") * 20_000)},
    "voids": numbered(20_000, b"V"),
    "impossible times": numbered(8_000, TOO_LATE),
    "texts": numbered(9_000, b"S\x00\x00\x00\x02ab"),
    "a long text": {b"a": b"S" + struct.pack(">I", 120_000) + b"x" * 120_000},
}


@pytest.mark.parametrize("entries", LARGE.values(), ids=LARGE)
def test_a_large_table_is_read_in_little_time_and_what_matters_is_found(entries: dict[bytes, bytes]) -> None:
    raw = table(entries | DEADLINE | NOT_BEFORE | BROKER)
    assert len(raw) <= MOST
    spent = []
    for _ in range(5):
        begun = time.process_time()
        size, found = lenient_reading._table(raw + b"what follows")
        spent.append(time.process_time() - begun)

    assert size == len(raw)
    assert found["deadline"] == 1767322800000
    assert found["not_before"] == 1767319200000
    assert found["x-delivery-count"] == 3
    assert min(spent) < 0.05


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(TOO_LATE, id="an impossible time"),
        pytest.param(b"F" + table({b"t": TOO_LATE}), id="in a table"),
        pytest.param(array(array(b"") * 200), id="arrays"),
    ],
)
def test_an_entry_that_cannot_be_read_costs_its_neighbours_nothing(odd: bytes) -> None:
    for entries in ({b"x": odd} | DEADLINE, DEADLINE | {b"x": odd}):
        assert lenient_reading._table(table(entries))[1]["deadline"] == 1767322800000


def test_what_comes_after_a_value_of_an_unknown_kind_is_left_out() -> None:
    raw = table(DEADLINE | {b"x": b"?\x01\x02"} | BROKER)

    assert lenient_reading._table(raw) == (len(raw), {"deadline": 1767322800000})


@pytest.mark.parametrize("cut", [1, 3, 7, 9])
def test_lengths_that_lie_are_not_followed(cut: int) -> None:
    raw = table({b"a": b"S\x00\x00\x00\xffabc"} | DEADLINE)

    assert lenient_reading._table(raw)[0] == len(raw)
    assert lenient_reading._table(raw[:-cut])[0] == len(raw)


async def test_a_client_reads_leniently_before_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    strict: dict[str, Any] = {
        "shortstr": decode.short_str,
        "timestamp": decode.timestamp,
        "table": decode.field_table,
    }
    monkeypatch.setattr(decode, "METHODS", decode.METHODS | strict)
    async with Client("amqp://127.0.0.1:1/", connect_timeout=0.1) as client:
        for connecting in (client.connect, client.subscribe().__aenter__):
            decode.METHODS.update(strict)
            with pytest.raises(BrokerUnreachable):
                await connecting()
            assert [kind for kind, decoder in strict.items() if decode.METHODS[kind] is decoder] == []
