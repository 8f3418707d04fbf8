"""A session's id follows from its request, and all ids are well-formed and distinct."""

import random
import time
from datetime import date
from uuid import RFC_4122, UUID

import pytest

from schemas import is_session_id, new_request_id, session_id

DAY = date(2025, 10, 13)


@pytest.mark.parametrize(
    ("request_id", "day", "expected"),
    [
        ("00000000-0000-0000-0000-000000000000", DAY, "ts_251013_andn2cgtkjcyo"),
        ("3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001", DAY, "ts_251013_hgl5g44x78gkz"),
        ("3f0f8a52-3b0e-4a0e-9d3c-0a6f5a4be001", date(2003, 1, 2), "ts_030102_hgl5g44x78gkz"),
    ],
)
def test_an_id_never_changes(request_id: str, day: date, expected: str) -> None:
    assert session_id(UUID(request_id), day) == expected
    assert is_session_id(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ts_251013_",
        "ts_251013_tool001",
        "ts_251313_0123456789abc",
        "ts_251032_0123456789abc",
        "ts_251013_0123456789ABC",
        "ts_251013_0123456789abc\n",
        "ts_251013_0123456789abcd",
        "cf_251013_0123456789abc",
        "ts_\uff12\uff15\uff11\uff10\uff11\uff13_0123456789abc",
    ],
)
def test_what_is_no_session_id(text: str) -> None:
    assert not is_session_id(text)


def test_a_million_requests_have_a_million_ids() -> None:
    bits = random.Random(20251013).getrandbits  # noqa: S311 - a repeatable test
    requests = {bits(128) for _ in range(500_000)} | set(range(500_000))
    ids = {session_id(UUID(int=request), DAY) for request in requests}
    assert len(ids) == len(requests) == 1_000_000
    assert all(map(is_session_id, ids))


def test_new_request_ids_are_distinct_and_in_the_order_of_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_request_id() for _ in range(100_000)]
    after = time.time_ns() // 1_000_000
    stamps = [one.int >> 80 for one in ids]
    assert len(set(ids)) == len(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= after
