"""Any AMQP message becomes a value that can be stored or buried."""

import base64
import gzip
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pamqp import commands as spec
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from schemas import FailureCode
from worker.messages.dead_letters import dead_letter_properties
from worker.messages.decoding import Limits, decode, restore
from worker.messages.envelope import Message, response_properties
from worker.messages.json_body import compact
from worker.messages.sealing import SealKeys, is_same_request, parse_seal_keys
from worker.values import Answer, Arrival, Read, Route, Unreadable, Unrecorded

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

MODEL = {"provider": "openai", "model": "gpt-4o"}
PHONE = {"twilio_phone_number": "+14155550100", "twilio_account_sid": "s", "twilio_auth_token": "t"}


def read(
    body: bytes | dict[str, Any],
    *,
    keys: SealKeys = KEYS,
    taken_by_broker: str | None = None,
    **properties: Any,
) -> Read:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    message = Message(raw, spec.Basic.Properties(**properties), taken_by_broker)
    return decode(message, LIMITS, keys, NOW)


def arrival(body: bytes | dict[str, Any], **given: Any) -> Arrival:
    made = read(body, **given)
    assert isinstance(made, Arrival)
    return made


def code(made: Read) -> FailureCode | None:
    if isinstance(made, Unrecorded):
        return made.refusal.code
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
    assert made.contents == ()


def test_a_property_of_which_nothing_can_be_kept_is_none() -> None:
    made = arrival(REQUEST, reply_to="\x00", correlation_id="\x00\x00", headers={"traceparent": b"\x00"})

    assert made.route == Route(None, None, None)
    unreadable = read(b"nothing", reply_to="\x00")
    assert isinstance(unreadable, Unreadable)
    assert unreadable.told is None


def test_assistant_id_wins_over_assistant() -> None:
    both = arrival(REQUEST | {"payload": {"assistant_id": "a", "assistant": {"name": "n"}}})
    assert both.request is not None
    assert both.request.ignores_assistant
    assert both.document == '{"assistant_id":"a"}'
    assert json.loads(both.body or "")["payload"] == {"assistant_id": "a", "assistant": {"name": "n"}}
    for payload in ({"assistant_id": "a"}, {"assistant": {"name": "n"}}, {}):
        one = arrival(REQUEST | {"payload": payload})
        assert one.request is not None
        assert not one.request.ignores_assistant
        assert json.loads(one.document or "") == payload


def test_a_stored_body_gives_the_request_back() -> None:
    secret = {"twilio_phone_number": "+14155550100", "twilio_account_sid": "s", "twilio_auth_token": "t"}
    document = REQUEST | {"payload": {"name": "A", "phone_number": secret}, "metadata": {"a": [1, None]}}
    made = arrival(document)
    assert made.request is not None
    assert made.body is not None
    assert '"t"' not in made.body

    request, sealed = restore(made.body, ID, KEYS)

    assert request.whole() == made.request.whole()
    assert sealed == made.document


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("expired", FailureCode.DEADLINE_EXCEEDED),
        ("delivery_limit", None),
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
    """The object itself counts as the first level, its metadata as the second."""
    inner = b'{"a":' * (depth - 2) + b"1" + b"}" * (depth - 2)
    body = json.dumps(REQUEST).encode()[:-1] + b', "metadata": {"x": 1, "b":' + inner + b"}}"

    expected = None if depth <= 100 else FailureCode.INVALID_REQUEST
    assert (
        code(decode(Message(body, spec.Basic.Properties(), None), Limits(1_000_000), KEYS, NOW)) is expected
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(REQUEST, REQUEST | {"user_id": None, "metadata": {}}, id="as the client writes it"),
        pytest.param(REQUEST, REQUEST | {"metadata": None}, id="metadata is null"),
        pytest.param(REQUEST, REQUEST | {"payload": {"name": "A", "status": None}}, id="null in the payload"),
        pytest.param(
            REQUEST | {"payload": {"customer": {"name": "B"}}},
            REQUEST | {"payload": {"customer": {"name": "B", "extension": None}, "messages": None}},
            id="null further inside",
        ),
    ],
)
def test_a_field_that_is_null_or_absent_says_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert is_same_request(arrival(other), arrival(one).fingerprint, KEYS)
    assert is_same_request(arrival(one), arrival(other).fingerprint, KEYS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(REQUEST | {"metadata": {"a": None}}, REQUEST, id="metadata"),
        pytest.param(REQUEST | {"metadata": {"a": None}}, REQUEST | {"metadata": {"b": None}}, id="its keys"),
        pytest.param(
            REQUEST | {"payload": {"customer": {"number_e164_check_enabled": None}}},
            REQUEST | {"payload": {"customer": {}}},
            id="an absent one means true",
        ),
        pytest.param(
            REQUEST | {"payload": {"assistant": {"model": {**MODEL, "own": None}}}},
            REQUEST | {"payload": {"assistant": {"model": MODEL}}},
            id="a field of the provider's own",
        ),
    ],
)
def test_a_null_in_free_form_data_is_data(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not is_same_request(arrival(other), arrival(one).fingerprint, KEYS)
    assert not is_same_request(arrival(one), arrival(other).fingerprint, KEYS)


@pytest.mark.parametrize("payload", [{"name": "A"}, {"phone_number": PHONE}], ids=["plain", "with a secret"])
def test_what_was_recorded_in_the_older_form_is_still_the_same_request(payload: dict[str, Any]) -> None:
    written = REQUEST | {"user_id": None, "metadata": {}, "payload": payload}
    before = '{"metadata":{},"operation":"create_session","org_id":"org-1","user_id":null}' + compact(payload)
    stored = KEYS.fingerprint(before, has_secrets="phone_number" in payload)

    assert is_same_request(arrival(written), stored, KEYS)
    assert not is_same_request(arrival(written | {"org_id": "org-2"}), stored, KEYS)


def test_a_request_is_recorded_alike_in_either_spelling_of_its_names() -> None:
    data = {"b": [1, 1.5, None, {"É": True}], "a": {"sip_uri": -0.0, "n": 10**300}}
    payload = {"name": 'ü\n"', "status": None, "expiration_seconds": 3600.0, "casefile_id": "cf_261126_a"}
    canonical = REQUEST | {"user_id": "u", "payload": payload, "timestamp": "2026-01-02", "metadata": data}
    other = {"orgId" if name == "org_id" else name: value for name, value in canonical.items()}
    inside = payload | {"casefileId": payload["casefile_id"]}
    del inside["casefile_id"]

    made = arrival(canonical)

    assert made.body is not None
    assert made.document is not None
    assert (json.loads(made.body)["metadata"], json.loads(made.document)["name"]) == (data, payload["name"])
    for again in (other, canonical | {"payload": inside}):
        assert arrival(again)._replace(request=None, contents=()) == made._replace(request=None, contents=())


def test_a_refused_request_is_the_same_in_another_order_at_another_time_with_other_space() -> None:
    refused = REQUEST | {"bogus": 1, "metadata": {"a": 1, "b": 2}}
    first = arrival(refused)
    assert code(first) is FailureCode.INVALID_REQUEST

    again = {key: refused[key] for key in reversed(refused)} | {"timestamp": "2026-01-02T00:00:00Z"}
    assert is_same_request(arrival(json.dumps(again, indent=2).encode()), first.fingerprint, KEYS)
    assert not is_same_request(arrival(refused | {"bogus": 2}), first.fingerprint, KEYS)
    raw = json.dumps(refused).encode()
    of_before = KEYS.fingerprint(raw.decode("latin-1"), has_secrets=True)
    assert is_same_request(arrival(raw), of_before, KEYS)


@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/octet-stream"},
        {"content_type": "text/xml; charset=latin1"},
        *({"content_encoding": name} for name in ("utf8", "UTF8", "Utf-8", "us-ascii", "binary", "gzip")),
    ],
    ids=str,
)
def test_json_is_read_whatever_it_is_declared_to_be(properties: dict[str, Any]) -> None:
    assert code(read(REQUEST, **properties)) is None


def test_a_packed_body_is_refused_for_its_encoding_and_burns_no_id() -> None:
    made = read(gzip.compress(json.dumps(REQUEST).encode()), content_encoding="gzip", correlation_id=str(ID))

    assert isinstance(made, Unrecorded)
    assert [error["field"] for error in made.refusal.errors or []] == ["content_encoding"]


@pytest.mark.parametrize(
    "body",
    [
        b"nothing",
        b"[]",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":"\\u0000"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1' + b"0" * 400 + b"}",
        b"x" * 20_000,
        b"{}",
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_every_refusal_as_invalid_lists_its_errors(body: bytes) -> None:
    made = arrival(body, correlation_id=str(ID))

    assert made.refusal is not None
    if made.refusal.code is FailureCode.INVALID_REQUEST:
        assert made.refusal.errors
        assert all(set(error) == {"field", "reason"} for error in made.refusal.errors)


@pytest.mark.parametrize(
    "digits", ["9" * 309, "1" + "0" * 400, "1" + "0" * 4000, "1" + "0" * 5000, "-" + "9" * 400]
)
def test_a_whole_number_beyond_a_double_is_refused(digits: str) -> None:
    body = json.dumps(REQUEST)[:-1] + f', "metadata": {{"a": {digits}}}}}'
    refusal = arrival(body.encode()).refusal
    assert refusal is not None
    assert "beyond the range of a double" in refusal.reason
    within = body.replace(digits, "1" + "0" * 308)
    assert code(read(within.encode())) is None
    in_text = body.replace(digits, f'"{digits}"')
    assert code(read(in_text.encode())) is None


@pytest.mark.parametrize(
    "text",
    [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "6f1f6a528f0a4c6c9f4a0d6a7f2b1c3d",
        "{6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d}",
        "+1111111111111111111111111111111",
        "1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_",
        "0x111111111111111111111111111111",
        " " * 31 + "7",
        "\uff16f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d",
    ],
)
def test_what_only_python_takes_for_an_id_is_none(text: str) -> None:
    assert isinstance(read(b"nothing", correlation_id=text), Unreadable)


def test_the_id_of_a_body_that_is_refused_is_its_own_and_not_a_nested_one() -> None:
    other = str(uuid4())
    for held in ('"\\u0000"', "NaN", '{"a": 1, "a": 2}', "1" + "0" * 400, "[" * 200 + "]" * 200):
        body = f'{{"metadata": {{"request_id": "{other}", "x": {held}}}, "request_id": "{ID}"}}'
        assert arrival(body.encode()).request_id == ID, held
    assert (
        arrival(f'{{"metadata": {{"request_id": "{other}"}}, "request_id": "{ID}", oops'.encode()).request_id
        == ID
    )


def test_what_is_sealed_already_is_refused_with_its_path() -> None:
    payload = {"phone_number": PHONE}
    stored = json.loads(arrival(REQUEST | {"payload": payload}).body or "")

    made = arrival(stored | {"request_id": str(ID)})

    assert made.refusal is not None
    assert made.refusal.code is FailureCode.INVALID_REQUEST
    assert [error["field"] for error in made.refusal.errors or []] == [
        "payload.phone_number.twilio_auth_token"
    ]
    assert made.body is None


def test_who_waits_for_an_answer_to_what_cannot_be_read_is_told_the_field() -> None:
    for body, named, field in (
        ({"id": str(ID)}, "request_id is required", "request_id"),
        (REQUEST | {"request_id": "17"}, "request_id must be a UUID of 36 characters", "request_id"),
        (b"nothing", "the body is not JSON", "(body)"),
    ):
        made = read(body, reply_to="q", correlation_id="c-1")
        assert isinstance(made, Unreadable)
        assert named in made.reason
        assert made.told is not None
        assert made.told.route.correlation_id == "c-1"
        assert made.told.refusal.code is FailureCode.INVALID_REQUEST
        assert "request_id" in [error["field"] for error in made.told.refusal.errors or []]
        assert read(body, reply_to="q") == read(body, reply_to="q"), "the made-up id is stable"
        assert read(body) == Unreadable(made.reason, field=field)


def test_a_dead_letter_keeps_where_it_came_from_and_no_credential() -> None:
    headers: FieldTable = {
        "tenant": "a", "n": 7, "Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "CC": "elsewhere",
        "long": "x" * 5000, "deep": {"token": "s3cret"}, "x-reason": "forged",
    }  # fmt: skip
    properties = spec.Basic.Properties(
        headers=headers, message_type="Order", app_id="shop", user_id="prod", content_encoding="gzip"
    )
    message = Message(b"", properties, None, exchange="sessions.requests", routing_key="create")

    buried = dead_letter_properties(message, "r" * 200_000, "h:1", "1", NOW)

    assert (buried.message_type, buried.content_encoding) == ("Order", "gzip")
    kept = dict(buried.headers or {})
    assert len(str(kept.pop("x-reason"))) <= 400
    assert kept == {
        "tenant": "a", "n": 7, "x-original-exchange": "sessions.requests",
        "x-original-routing-key": "create", "x-original-user-id": "prod",
        "x-original-app-id": "shop", "x-original-message-id": "",
        "x-code": "unreadable", "x-failed-at": NOW.isoformat(), "x-worker": "h:1", "x-version": "1",
    }  # fmt: skip
    assert len(ContentHeader(properties=buried).marshal()) < 32_768


def test_a_response_s_properties_fall_back_to_the_request_id() -> None:
    answer = Answer(ID, "completed", None, "{}", f"{ID}.m-1", Route(None, None, None))

    bare = response_properties(answer, NOW)
    full = response_properties(answer._replace(route=Route("q", "c", "t")), NOW)

    assert (bare.correlation_id, bare.headers, bare.message_id) == (str(ID), None, f"{ID}.m-1")
    assert (full.correlation_id, full.headers, full.timestamp) == ("c", {"traceparent": "t"}, NOW)


@pytest.mark.parametrize("blank", [UUID(int=0), UUID(int=2**128 - 1)])
def test_a_blank_id_names_no_request(blank: UUID) -> None:
    """Producers that forget to set an id all send this one, and would get each other's responses under it."""
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

    assert (request.whole().request_id, document) == (blank, '{"name":"A"}')
