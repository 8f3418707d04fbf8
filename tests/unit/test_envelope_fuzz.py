"""Any random message becomes a value that can be stored or buried."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.header import ContentHeader

from worker.messages.dead_letters import dead_letter_properties
from worker.messages.decoding import Limits, decode
from worker.messages.envelope import Message, response_properties
from worker.messages.sealing import SealKeys
from worker.values import Answer, Cancellation, Unreadable, Unrecorded

ID = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONGEST_REASON = 500
HEADER_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.binary(max_size=20).map(bytearray),
    st.floats(),
    st.datetimes(timezones=st.just(UTC)),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(0, 9), max_size=3),
)
SHORT = st.one_of(st.none(), st.text(max_size=60), st.just(str(ID)))
PROPERTIES = st.fixed_dictionaries(
    {
        "reply_to": SHORT,
        "correlation_id": SHORT,
        "message_id": SHORT,
        "content_type": st.one_of(SHORT, st.just("application/json")),
        "content_encoding": st.sampled_from([None, "", "gzip", "utf-8"]),
        "expiration": st.one_of(st.none(), st.text(max_size=10), st.integers().map(str)),
        "headers": st.one_of(
            st.none(),
            st.dictionaries(st.sampled_from(["deadline", "not_before", "traceparent", "x"]), HEADER_VALUES),
        ),
    }
)
LONG_KEYS = st.builds(lambda letter, length: letter * length, st.characters(), st.integers(1_000, 5_000))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | LONG_KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)
PAYLOAD = st.fixed_dictionaries({}, optional={"name": st.text(), "expiration_seconds": JSON})
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "request_id": st.just(str(ID)) | JSON,
            "org_id": st.text(max_size=10) | JSON,
            "user_id": st.text(max_size=10),
            "operation": st.just("create_session") | st.text(),
            "payload": st.fixed_dictionaries({}, optional={"name": st.text(), "expiration_seconds": JSON})
            | JSON,
            "metadata": st.dictionaries(st.text(max_size=5), JSON) | JSON,
            "timestamp": st.text(),
        },
    ).map(lambda value: json.dumps(value, allow_nan=True).encode()),
)


@settings(max_examples=600)
@given(BODIES, PROPERTIES, st.sampled_from([None, "expired", "delivery_limit"]))
def test_any_message_becomes_what_can_be_stored_or_buried(
    body: bytes, properties: dict[str, Any], why: str | None
) -> None:
    message = Message(body, spec.Basic.Properties(**properties), why)

    made = decode(message, Limits(10_000), SealKeys({}), NOW)

    if isinstance(made, Unreadable):
        assert len(made.reason) <= LONGEST_REASON
        buried = dead_letter_properties(message, made.reason, "h:1", "1", NOW)
        assert ContentHeader(properties=buried).marshal()
        assert (made.told is not None) == bool(made.told and made.told.route.reply_to)
        return
    assert not isinstance(made, Cancellation), "none of these asks for one"
    if not isinstance(made, Unrecorded):
        texts = [made.body, made.document, made.org_id, made.user_id, made.session_id, *made.route]
        for text in filter(None, texts):
            assert "\x00" not in text
            assert text.encode()
        assert (made.body is None) == (made.refusal is not None)
    if made.refusal:
        assert len(json.dumps(made.refusal.errors).encode()) < 20_000
        assert "\x00" not in made.refusal.reason
        assert len(made.refusal.reason) <= LONGEST_REASON
        assert (made.refusal.code.value == "invalid_request") == bool(made.refusal.errors)
    answer = Answer(made.request_id, "failed", "c", "{}", "m", made.route)
    assert ContentHeader(properties=response_properties(answer, NOW)).marshal()
