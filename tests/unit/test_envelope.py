"""Between AMQP messages and values: whatever comes in, something that can be stored or buried comes out."""

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pamqp import commands as spec

from schemas import FailureCode
from worker.envelope import (
    Limits,
    Message,
    decode,
    is_same_request,
    response_properties,
    restore,
)
from worker.outcome import Answer, Arrival, Route, Unreadable
from worker.seal import SealKeys, parse_seal_keys

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = parse_seal_keys(f"k1:{base64.b64encode(bytes(32)).decode()}")
LIMITS = Limits(10_000)
REQUEST: dict[str, Any] = {
    "request_id": str(ID),
    "org_id": "org-1",
    "operation": "create_session",
    "payload": {"name": "A"},
}


def read(
    body: bytes | dict[str, Any],
    *,
    keys: SealKeys = KEYS,
    taken_by_broker: str | None = None,
    **properties: Any,
) -> Arrival | Unreadable:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    message = Message(raw, spec.Basic.Properties(**properties), taken_by_broker)
    return decode(message, LIMITS, keys, NOW)


def arrival(body: bytes | dict[str, Any], **given: Any) -> Arrival:
    made = read(body, **given)
    assert isinstance(made, Arrival)
    return made


def code(made: Arrival | Unreadable) -> FailureCode | None:
    assert isinstance(made, Arrival)
    return made.refusal.code if made.refusal else None


def test_a_request_is_ready_to_be_accepted() -> None:
    made = arrival(
        REQUEST | {"user_id": "u", "metadata": {"b": 1, "a": 2}, "timestamp": "2026-01-02T00:00:00Z"},
        reply_to="q",
        correlation_id="c",
        headers={"traceparent": "t"},
    )

    assert (made.request_id, made.org_id, made.user_id, made.refusal) == (ID, "org-1", "u", None)
    assert made.route == Route("q", "c", "t")
    assert made.session_id.startswith("ts_260102_")
    assert made.document == '{"name":"A"}'
    assert json.loads(made.body or "") == {
        "org_id": "org-1",
        "user_id": "u",
        "operation": "create_session",
        "metadata": {"a": 2, "b": 1},
        "timestamp": "2026-01-02T00:00:00Z",
        "payload": {"name": "A"},
    }
    assert made.keyed is None


def test_a_stored_body_gives_the_request_back() -> None:
    secret = {"twilio_phone_number": "+14155550100", "twilio_account_sid": "s", "twilio_auth_token": "t"}
    document = REQUEST | {"payload": {"name": "A", "phone_number": secret}, "metadata": {"a": [1, None]}}
    made = arrival(document)
    assert made.request is not None
    assert made.body is not None
    assert '"t"' not in made.body

    request, sealed = restore(made.body, ID, KEYS)

    assert request.model_dump() == made.request.model_dump()
    assert sealed == made.document


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("2026-01-02T04:00:00+01:00", datetime(2026, 1, 2, 3, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        (" 1767322800000 ", datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (1767322800000, datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        (bytearray(b"1767322800000"), datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=UTC)),  # noqa: DTZ001 — as some clients give it
    ],
)
def test_a_deadline_is_read_in_every_form(header: object, expected: datetime) -> None:
    assert arrival(REQUEST, headers={"deadline": header}).deadline_at == expected


@pytest.mark.parametrize(
    "header", ["", "soon", "99999999999999999", [1], {"a": 1}, Decimal(1), float("nan"), float("inf"), 10**18]
)
def test_a_deadline_that_cannot_be_read_is_refused(header: object) -> None:
    assert code(read(REQUEST, headers={"deadline": header})) is FailureCode.INVALID_REQUEST


def test_the_expiration_counts_from_when_it_was_sent_and_never_from_the_future() -> None:
    sent = NOW - timedelta(seconds=10)

    assert arrival(REQUEST, expiration="60000", timestamp=sent).deadline_at == sent + timedelta(minutes=1)
    assert arrival(REQUEST, expiration="60000").deadline_at == NOW + timedelta(minutes=1)
    ahead = NOW + timedelta(days=1)
    assert arrival(REQUEST, expiration="60000", timestamp=ahead).deadline_at == NOW + timedelta(minutes=1)
    assert code(read(REQUEST, expiration="x")) is FailureCode.INVALID_REQUEST
    assert code(read(REQUEST, expiration="9" * 30)) is FailureCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("expired", FailureCode.DEADLINE_EXCEEDED),
        ("delivery_limit", FailureCode.ATTEMPTS_EXHAUSTED),
        ("rejected", None),
        ("maxlen", None),
        ("unknown", None),
    ],
)
def test_what_the_broker_took_is_answered_with_why_or_worked_on(
    why: str, expected: FailureCode | None
) -> None:
    assert code(read(REQUEST, taken_by_broker=why)) is expected
    assert isinstance(read(b"nothing", taken_by_broker=why), Unreadable)
    assert code(read(REQUEST | {"operation": "x"}, taken_by_broker=why)) is FailureCode.INVALID_REQUEST


def test_what_the_broker_took_is_the_same_request_as_before() -> None:
    before = arrival(REQUEST)

    assert is_same_request(arrival(REQUEST, taken_by_broker="expired"), before.fingerprint, KEYS)


def test_the_id_is_looked_for_in_a_body_that_cannot_be_read() -> None:
    for text in ('{"request_id" : "%s", oops', '{"requestId":"%s"', '[{"request_id": "%s"}]'):
        assert arrival((text % ID).encode()).request_id == ID
    other = uuid4()
    assert arrival(b"oops", correlation_id=str(other)).request_id == other
    both = arrival(b'{"request_id": "%s", oops' % str(ID).encode(), correlation_id=str(other))
    assert both.request_id == ID


@pytest.mark.parametrize("depth", [99, 100, 101, 5000])
def test_the_nesting_has_one_limit_wherever_it_is_found(depth: int) -> None:
    """The object itself is the first level, its metadata the second."""
    inner = b'{"a":' * (depth - 2) + b"1" + b"}" * (depth - 2)
    body = json.dumps(REQUEST).encode()[:-1] + b', "metadata": {"x": 1, "b":' + inner + b"}}"

    expected = None if depth <= 100 else FailureCode.INVALID_REQUEST
    assert (
        code(decode(Message(body, spec.Basic.Properties(), None), Limits(1_000_000), KEYS, NOW)) is expected
    )


def test_a_response_s_properties_fall_back_to_the_request_id() -> None:
    answer = Answer(ID, "completed", None, "{}", "m-1", Route(None, None, None))

    bare = response_properties(answer, NOW)
    full = response_properties(answer._replace(route=Route("q", "c", "t")), NOW)

    assert (bare.correlation_id, bare.headers, bare.message_id) == (str(ID), None, "m-1")
    assert (full.correlation_id, full.headers, full.timestamp) == ("c", {"traceparent": "t"}, NOW)


@pytest.mark.parametrize("blank", [UUID(int=0), UUID(int=2**128 - 1)])
def test_a_blank_id_names_no_request(blank: UUID) -> None:
    """Those who forget to set it all send this one: under it they would be told of each other's requests."""
    sent = REQUEST | {"request_id": str(blank)}

    assert isinstance(read(sent), Unreadable)
    assert isinstance(read(sent, correlation_id=str(blank)), Unreadable)
    assert isinstance(read(b'{"request_id": "%s", ' % str(blank).encode()), Unreadable)
    assert code(arrival(sent, correlation_id=str(ID))) is FailureCode.INVALID_REQUEST


def test_a_blank_id_that_was_accepted_once_is_read_back() -> None:
    blank = UUID(int=0)
    stored = arrival(REQUEST).body
    assert stored is not None

    request, document = restore(stored, blank, KEYS)

    assert (request.request_id, document) == (blank, '{"name":"A"}')
