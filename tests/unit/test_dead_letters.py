"""What is stored of a dead letter, how its body is shown and mended: without any server."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from pamqp import commands as spec
from pamqp import header

from worker.errors import SealError
from worker.messages import custody
from worker.messages.custody import bare, letter_of, message_to_send, open_body, shape, undescribed
from worker.messages.envelope import Message
from worker.messages.masking import MASK, shown
from worker.messages.mending import Edit, Unmendable, edit_from, mended
from worker.messages.sealing import parse_seal_keys

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NO_KEYS = parse_seal_keys("")
KEY_1 = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY_2 = "k2:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
OWN = UUID("00000000-0000-4000-8000-000000000001")


def message(body: bytes = b"x", **properties: Any) -> Message:
    return Message(body=body, properties=spec.Basic.Properties(**properties), taken_by_broker=None)


def test_what_is_stored_becomes_the_message_that_it_was() -> None:
    headers: dict[str, Any] = {
        "text": "ä", "blob": bytearray(b"\xff"), "time": NOW, "sum": Decimal("1.5"), "yes": True,
        "none": None, "table": {"(bytes)": "no bytes", "deep": [{"n": 1}, 2.5]},
        "(time)": "no time",
    }  # fmt: skip
    notes = {
        "x-reason": "why", "x-death": [{"count": 1}], "x-original-message-id": "theirs",
        "x-original-app-id": "shop", "x-first-death-queue": "q", "x-delivery-count": 3,
    }  # fmt: skip
    arrived = message(
        b"\x00\xff", headers=headers | notes, correlation_id="c", reply_to="r", content_type="a/b",
        priority=3, message_id="mine", app_id="session-worker", timestamp=NOW, expiration="5",
        user_id="guest",
    )  # fmt: skip

    letter = letter_of(arrived, NO_KEYS, NOW)
    again = message_to_send(letter.id, letter.body, json.loads(letter.properties), json.loads(letter.headers))

    assert again.body == b"\x00\xff"
    assert again.properties.headers == headers
    made = again.properties
    assert (made.message_id, made.app_id, made.correlation_id, made.reply_to) == ("theirs", "shop", "c", "r")
    assert (made.timestamp, made.priority, made.content_type, made.delivery_mode) == (NOW, 3, "a/b", 2)
    assert (made.expiration, made.user_id) == (None, None)
    assert header.ContentHeader(properties=made).marshal(), "the client library can write it"


def test_its_id_is_the_same_for_the_same_message_and_for_no_other() -> None:
    one = letter_of(message(b"a", message_id="1", headers={"x-delivery-count": 1}), NO_KEYS, NOW)
    again = letter_of(
        message(b"a", message_id="1", headers={"x-delivery-count": 2}), parse_seal_keys(KEY_1), NOW
    )
    others = [
        message(b"b", message_id="1"), message(b"a", message_id="2"),
        message(b"a", message_id="1", app_id="x"), message(b"a", message_id="1", headers={"n": 1}),
    ]  # fmt: skip

    assert one.id == again.id
    assert len({one.id, *(letter_of(other, NO_KEYS, NOW).id for other in others)}) == 5


def test_a_sealed_body_opens_with_its_key_and_in_its_place_alone() -> None:
    keys = parse_seal_keys(KEY_1)
    letter = letter_of(message(b"secret"), keys, NOW)

    assert (
        open_body(letter.body, letter.sealed_by, letter.id, parse_seal_keys(f"{KEY_2},{KEY_1}")) == b"secret"
    )
    with pytest.raises(SealError, match="key 'k1': add that to WORKER_SEAL_KEYS"):
        open_body(letter.body, letter.sealed_by, letter.id, parse_seal_keys(KEY_2))
    with pytest.raises(SealError, match="does not open"):
        open_body(letter.body, letter.sealed_by, uuid4(), keys)


def test_a_letter_that_cannot_be_stored_is_stripped_but_for_its_body() -> None:
    letter = letter_of(message(b"x", headers={"a": "b"}, app_id="shop"), NO_KEYS, NOW)

    assert bare(letter)[1:4] == letter[1:4]
    assert "shop" not in str(bare(letter))


def test_a_letter_that_nobody_can_describe_is_made_without_a_look_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: object) -> None:
        raise LookupError("unforeseen")

    for look in ("shape", "id_in_text", "_members", "_reason"):
        monkeypatch.setattr(custody, look, refuses)
    keys = parse_seal_keys(KEY_1)

    letter = undescribed(b"secret", keys, NOW)

    assert open_body(letter.body, letter.sealed_by, letter.id, keys) == b"secret"
    assert letter.id == undescribed(b"secret", NO_KEYS, NOW).id != undescribed(b"other", NO_KEYS, NOW).id


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b" \n", "empty"), ("\u2003".encode(), "empty"),
        (b"<a/>", "like XML"), (b'{"a', "like JSON"), (b"[1]", "like JSON"),
        (b"hello", "text"),
        (b"\x1f\x8b\x08", "gzip"), (b"\xff", "bytes"), (b"{}", "has nothing"),
        (b'{"b":1,"a":{"c":2}}', "has a, b"),
        (b"x" * 70_000, "large"), (b'{"a":' * 5000, "like JSON"),
        (json.dumps({f"n{n:02}": n for n in range(14)}).encode(),
         "has n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11, …"),
    ],
)  # fmt: skip
def test_the_shape_of_a_body_repeats_no_value(body: bytes, expected: str) -> None:
    assert shape(body) == expected


SECRET = "conspicuous-1"


@pytest.mark.parametrize(
    "body",
    [
        {"payload": {"assistant": {"apiKey": SECRET, "n": [{"password": SECRET}]}}},
        {"text": f"Authorization: Bearer {SECRET}0"},
        {"url": f"amqp://me:{SECRET}@host/"},
        [{"token": SECRET}],
        f'{{"password": "{SECRET}", broken',
        f'{{"password" : "{SECRET}',
        f"user=me&password={SECRET}&x=1",
        f"<login><password>{SECRET}</password></login>",
        f"api_key: {SECRET}\nother: 1",
        f"authorization: Basic {SECRET}",
        f"secret='{SECRET}'",
    ],
    ids=str,
)
def test_what_looks_like_a_credential_is_masked(body: object) -> None:
    text = shown(body.encode() if isinstance(body, str) else json.dumps(body).encode())

    assert SECRET not in text
    assert MASK in text


def test_the_rest_is_shown_as_it_is() -> None:
    assert shown(b"<order>1</order>") == "<order>1</order>"
    assert json.loads(shown(b'{"id": "7", "max_token": 5, "password": null, "token": ""}')) == {
        "id": "7", "max_token": 5, "password": None, "token": "",
    }  # fmt: skip
    assert shown(b"\xff\x00A") == f"000000  {'ff 00 41':<48} ..A"
    assert shown(b"\xff" * 600).endswith("… 88 bytes more: --raw writes all of them")


Do = Literal["set", "rename", "delete"]


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([], '{"id": "7", "payload": {"a": 1}}'),
        ([("rename", "id=request_id")], '{"payload": {"a": 1}, "request_id": "7"}'),
        ([("set", "payload.b=[1, 2]")], '{"id": "7", "payload": {"a": 1, "b": [1, 2]}}'),
        ([("set", "id=x=y"), ("delete", "payload.a")], '{"id": "x=y", "payload": {}}'),
        ([("set", 'id="8"')], '{"id": "8", "payload": {"a": 1}}'),
        ([("set", "id=@id")], f'{{"id": "{OWN}", "payload": {{"a": 1}}}}'),
    ],
)
def test_a_body_is_mended(edits: list[tuple[Do, str]], expected: str) -> None:
    made = mended(b'{"id": "7", "payload": {"a": 1}}', [edit_from(do, text) for do, text in edits], OWN)

    assert made.decode() == expected


@pytest.mark.parametrize(
    ("body", "edit", "why"),
    [
        (b"<a/>", Edit("delete", ("a",)), "it is no JSON"),
        (b"[" * 100_000, Edit("delete", ("a",)), "it is no JSON"),
        (b"[1]", Edit("set", ("a",), 1), "it is no object"),
        (b'{"a": 1}', Edit("set", ("a", "b"), 1), "a is no object"),
        (b"{}", Edit("rename", ("a",), "b"), "it has no a"),
        (b'{"a": 1, "b": 2}', Edit("rename", ("a",), "b"), "it has b already"),
    ],
)
def test_an_edit_that_does_not_fit_says_why(body: bytes, edit: Edit, why: str) -> None:
    with pytest.raises(Unmendable, match=why):
        mended(body, [edit], OWN)


@pytest.mark.parametrize(
    ("do", "text"), [("set", "a"), ("delete", "a=b"), ("rename", "a=b.c"), ("set", ".a=1")]
)
def test_an_edit_that_is_none_is_refused(do: Do, text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|new name"):
        edit_from(do, text)
