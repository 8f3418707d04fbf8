"""The times that a request carries are read in every form, and bad ones are refused and burn no id."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from schemas import FailureCode
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.values import Arrival, Cancellation, Read, Unrecorded

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FURTHEST = timedelta(days=366)
REQUEST = {"request_id": str(ID), "org_id": "org-1", "operation": "create_session", "payload": {}}
CANCEL = {"request_id": str(ID), "operation": "cancel_session"}
HEADERS = ["deadline", "not_before"]


def read(body: dict[str, Any] = REQUEST, *, taken: str | None = None, **properties: Any) -> Read:
    message = Message(json.dumps(body).encode(), spec.Basic.Properties(**properties), taken)
    return decode(message, Limits(10_000), SealKeys({}), NOW)


def arrival(**given: Any) -> Arrival:
    made = read(**given)
    assert isinstance(made, Arrival)
    return made


def refused_for(made: Read) -> tuple[str, str]:
    """Returns the property that a request is refused for, and the reason."""
    assert isinstance(made, Unrecorded)
    assert (made.request_id, made.refusal.code) == (ID, FailureCode.INVALID_REQUEST)
    (error,) = made.refusal.errors or []
    assert error["reason"] == made.refusal.reason
    return error["field"], error["reason"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T04:00:00+01:00", datetime(2026, 1, 2, 3, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        (" 1767322800000 ", datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (1767322800000, datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (1767322800000.0, datetime(2026, 1, 2, 3, tzinfo=UTC)),
        ("1767322800000.25", datetime(2026, 1, 2, 3, 0, 0, 250, tzinfo=UTC)),
        (bytearray(b"1767322800000"), datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=UTC)),  # noqa: DTZ001 — as some clients give it
    ],
)
def test_a_time_is_read_in_every_form(value: object, expected: datetime) -> None:
    assert arrival(headers={"deadline": value}).deadline_at == expected
    begins_at = arrival(headers={"not_before": value}).not_before
    assert begins_at == expected
    assert begins_at.tzinfo is UTC


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "tomorrow 8:00", "nan", "inf", "1e12", "9" * 17, "9999-12-31T23:59:59-12:00"),
        *([1], {"a": 1}, Decimal(1), float("nan"), float("inf"), float("-inf"), 10**18, True, False),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_and_burns_no_id(header: str, value: object) -> None:
    field, reason = refused_for(read(headers={header: value}))

    assert field == header
    assert reason == f"the header `{header}` is neither ISO 8601 nor milliseconds since 1970"


def test_the_expiration_counts_from_when_it_was_sent_and_never_from_the_future() -> None:
    sent, minute = NOW - timedelta(seconds=10), timedelta(minutes=1)

    assert arrival(expiration="60000", timestamp=sent).deadline_at == sent + minute
    assert arrival(expiration="60000").deadline_at == NOW + minute
    assert arrival(expiration="60000", timestamp=NOW + timedelta(days=1)).deadline_at == NOW + minute
    assert refused_for(read(expiration="x"))[0] == "expiration"
    assert refused_for(read(expiration="9" * 30))[0] == "expiration"


@pytest.mark.parametrize("value", [NOW, NOW - timedelta(milliseconds=1), 0, -1, "0001-01-01", None])
def test_a_not_before_that_has_come_is_none(value: object) -> None:
    assert arrival(headers={"not_before": value}).not_before is None
    late = arrival(headers={"not_before": value, "deadline": 1})
    assert late.not_before is None, "it is told that it is too late, and not that both do not fit"


def test_a_not_before_more_than_a_year_ahead_is_refused() -> None:
    furthest = NOW + FURTHEST

    assert arrival(headers={"not_before": furthest}).not_before == furthest
    for beyond in (furthest + timedelta(microseconds=1), "9999-12-31"):
        field, reason = refused_for(read(headers={"not_before": beyond}))
        assert (field, reason) == ("not_before", "the header `not_before` is more than 366 days ahead")


@pytest.mark.parametrize(
    "deadline",
    [
        pytest.param({"headers": {"deadline": NOW + timedelta(minutes=1)}}, id="the header"),
        pytest.param({"expiration": "60000"}, id="the expiration"),
        pytest.param(
            {"headers": {"deadline": NOW + timedelta(days=1)}, "expiration": "60000"}, id="the earlier one"
        ),
    ],
)
def test_a_not_before_that_leaves_no_time_before_the_deadline_is_refused(deadline: dict[str, Any]) -> None:
    def at(seconds: float) -> Read:
        begins_at = NOW + timedelta(seconds=seconds)
        return read(**deadline | {"headers": deadline.get("headers", {}) | {"not_before": begins_at}})

    in_time = at(59)
    assert isinstance(in_time, Arrival)
    assert (in_time.not_before, in_time.deadline_at) == (
        NOW + timedelta(seconds=59),
        NOW + timedelta(seconds=60),
    )
    for seconds in (60, 61):
        field, reason = refused_for(at(seconds))
        assert field == "not_before"
        assert {"`not_before`", "`deadline`"} <= set(reason.split())
        assert "expiration" in reason


def test_what_is_refused_or_cancelled_waits_for_no_time() -> None:
    tomorrow = {"not_before": NOW + timedelta(days=1)}

    for made in (read(REQUEST | {"bogus": 1}, headers=tomorrow), read(taken="expired", headers=tomorrow)):
        assert isinstance(made, Arrival)
        assert made.refusal is not None
        assert made.not_before is None
    assert isinstance(read(CANCEL, headers={"not_before": "words"}), Cancellation)


NEAR = st.timedeltas(timedelta(days=-30), timedelta(days=400)).map(lambda ahead: NOW + ahead)
TIMES = st.one_of(
    NEAR,
    NEAR.map(datetime.isoformat),
    NEAR.map(lambda at: int(at.timestamp() * 1000)),
    NEAR.map(lambda at: str(at.timestamp() * 1000)),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text("0123456789-+:.TZ ", max_size=20),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
)


@given(
    st.fixed_dictionaries({}, optional={"not_before": TIMES, "deadline": TIMES}),
    st.none() | st.integers(0, 400 * 86_400_000).map(str),
)
def test_any_times_give_a_request_that_can_begin_in_time_or_a_refusal(
    headers: dict[str, object], expiration: str | None
) -> None:
    made = read(headers=headers, expiration=expiration)

    if isinstance(made, Unrecorded):
        assert refused_for(made)[0] in headers
        return
    assert isinstance(made, Arrival)
    if made.not_before is not None:
        assert NOW < made.not_before <= NOW + FURTHEST
        assert made.deadline_at is None or made.not_before < made.deadline_at
