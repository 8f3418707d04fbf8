"""Texts are sealed and opened with their keys, and fingerprints tell whether contents are the same."""

import base64
import json
import os
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from worker.errors import SealError, SettingsError
from worker.messages.sealing import SealKeys, key_of_fingerprint, keys_of, parse_seal_keys

KEY = base64.b64encode(bytes(range(32))).decode()
ME = UUID("6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d")
DOCUMENT: dict[str, Any] = {
    "name": "plain",
    "phone_number": {"twilio_auth_token": "s3cret", "server": {"headers": {"X-Ü": "a", "Y": {"deep": [1]}}}},
}


@pytest.fixture
def keys() -> SealKeys:
    return parse_seal_keys(f"k1:{KEY}")


def test_a_sealed_document_opens_again_to_what_it_was(keys: SealKeys) -> None:
    sealed = keys.seal_document(DOCUMENT, ME)

    text = json.dumps(sealed)
    assert "s3cret" not in text
    assert sealed["name"] == "plain"
    assert sealed["phone_number"]["twilio_auth_token"].startswith("sealed:v1:k1:")
    assert keys.open_document(json.loads(text), ME) == DOCUMENT


def test_the_same_text_is_sealed_differently_each_time(keys: SealKeys) -> None:
    sealed = {keys.seal_document(DOCUMENT, ME)["phone_number"]["twilio_auth_token"] for _ in range(100)}

    assert len(sealed) == 100


def test_a_sealed_text_is_bound_to_its_request(keys: SealKeys) -> None:
    with pytest.raises(SealError, match="does not open with key 'k1'"):
        keys.open_document(keys.seal_document(DOCUMENT, ME), uuid4())


def test_a_changed_sealed_text_does_not_open(keys: SealKeys) -> None:
    sealed = keys.seal_document(DOCUMENT, ME)
    mark, _, encoded = sealed["phone_number"]["twilio_auth_token"].rpartition(":")
    blob = bytearray(base64.b64decode(encoded))
    for place in range(len(blob)):
        changed = bytes(byte ^ (index == place) for index, byte in enumerate(blob))
        sealed["phone_number"]["twilio_auth_token"] = f"{mark}:{base64.b64encode(changed).decode()}"
        with pytest.raises(SealError):
            keys.open_document(sealed, ME)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("in the clear", "is not sealed"),
        (7, "is not sealed"),
        ("sealed:v1:k9:AAAA", "needs key 'k9': add it to WORKER_SEAL_KEYS"),
        ("sealed:v1:k1:", "does not open with key 'k1'"),
        ("sealed:v1:k1:AAAA", "does not open with key 'k1'"),
        ("sealed:v1:k1:!", "does not open with key 'k1'"),
    ],
)
def test_what_cannot_be_opened_is_said_without_showing_it(keys: SealKeys, text: object, problem: str) -> None:
    with pytest.raises(SealError) as raised:
        keys.open_document({"phone_number": {"twilio_auth_token": text}}, ME)

    assert str(raised.value).startswith(f"phone_number.twilio_auth_token of request {ME} {problem}")
    assert "in the clear" not in str(raised.value)


def test_without_a_key_nothing_is_sealed() -> None:
    assert not SealKeys({})
    with pytest.raises(SealError, match="set WORKER_SEAL_KEYS"):
        SealKeys({}).seal_document(DOCUMENT, ME)
    with pytest.raises(SealError, match="set WORKER_SEAL_KEYS"):
        SealKeys({}).fingerprint("{}", has_secrets=True)


def test_the_first_key_seals_and_every_key_opens() -> None:
    new = base64.b64encode(os.urandom(32)).decode()
    old_ring, ring = parse_seal_keys(f"k1:{KEY}"), parse_seal_keys(f" k2:{new} , k1:{KEY},")

    assert ring.names == ("k2", "k1")
    assert ring.open_document(old_ring.seal_document(DOCUMENT, ME), ME) == DOCUMENT
    assert ":k2:" in ring.seal_document(DOCUMENT, ME)["phone_number"]["twilio_auth_token"]


def test_a_fingerprint_tells_contents_apart_and_needs_the_key_when_secrets_went_in(keys: SealKeys) -> None:
    other = parse_seal_keys(f"k1:{base64.b64encode(os.urandom(32)).decode()}")

    plain, keyed = (keys.fingerprint("{}", has_secrets=has_secrets) for has_secrets in (False, True))

    assert plain == other.fingerprint("{}", has_secrets=False)
    assert keyed != other.fingerprint("{}", has_secrets=True)
    assert keyed == keys.fingerprint("{}", has_secrets=True)
    assert keyed != keys.fingerprint("{ }", has_secrets=True)
    assert (key_of_fingerprint(plain), key_of_fingerprint(keyed)) == ("plain", "k1")


def test_a_fingerprint_can_be_made_with_an_older_key() -> None:
    ring = parse_seal_keys(f"k2:{base64.b64encode(os.urandom(32)).decode()},k1:{KEY}")
    before = parse_seal_keys(f"k1:{KEY}").fingerprint("{}", has_secrets=True)

    assert ring.fingerprint("{}", has_secrets=True, key="k1") == before
    assert ring.fingerprint("{}", has_secrets=True) != before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (KEY, "key 1 is not `id:base64-of-32-bytes`"),
        (f"k1:{KEY},k2:hunter2", "key 2 is not `id:base64-of-32-bytes`"),
        ("k1:" + base64.b64encode(b"hunter2").decode(), "key 1 is not"),
        (f"k1:{KEY}x", "key 1 is not"),
        (f"plain:{KEY}", "key 1 is not"),
        (f":{KEY}", "key 1 is not"),
        (f"a b:{KEY}", "key 1 is not"),
        (f"{'x' * 33}:{KEY}", "key 1 is not"),
        (f"k1:{KEY},k1:{KEY}", "the id 'k1' is there twice"),
    ],
)
def test_wrong_keys_are_named_by_their_place_and_never_shown(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_seal_keys(text)

    assert str(raised.value).startswith(f"WORKER_SEAL_KEYS: {problem}")
    assert KEY[:12] not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_no_keys_at_all_are_an_empty_ring() -> None:
    assert parse_seal_keys("").names == parse_seal_keys(" , ").names == ()


def test_what_one_key_has_sealed_is_sealed_anew_and_nothing_else_changes(keys: SealKeys) -> None:
    both = parse_seal_keys(f"k1:{KEY},k2:{base64.b64encode(os.urandom(32)).decode()}")
    payload = keys.seal_document(DOCUMENT, ME)
    text = json.dumps({"z": "ü", "payload": payload | {"note": "sealed:v1:k1:AAAA", "a": [1.50, 1e3]}})
    other = both.seal_document({"token": "of another key"}, ME)
    assert keys_of(json.loads(text)["payload"]) == {"k1"}, "a note is no place for a secret"

    anew = both.reseal_text(text, json.loads(text)["payload"], ME, old="k1", new="k2")

    assert keys_of(json.loads(anew)["payload"]) == {"k2"}
    opened = both.open_document(json.loads(anew)["payload"], ME)
    assert opened == DOCUMENT | {"note": "sealed:v1:k1:AAAA", "a": [1.50, 1e3]}
    pattern = r'"sealed:v1:k[12]:[A-Za-z0-9+/]{30,}=*"'
    assert re.sub(pattern, "", anew) == re.sub(pattern, "", text)
    assert both.reseal_text(anew, json.loads(anew)["payload"], ME, old="k1", new="k2") == anew
    assert both.reseal_text(json.dumps(other), other, ME, old="k2", new="k1") == json.dumps(other)
    with pytest.raises(SealError, match="does not open"):
        both.reseal_text(text, json.loads(text)["payload"], uuid4(), old="k1", new="k2")
    assert both.seal_bytes(b"body", b"here", "k2")[0] == "k2"
