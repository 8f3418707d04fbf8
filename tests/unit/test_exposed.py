"""What looks like a credential and is stored as it is, is found by its path; all else is not."""

import time
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.contract.canaries import TELLING
from support.contract.everything import EVERYTHING

from worker.messages.exposed import exposed_paths
from worker.steps import exposure
from worker.steps.exposure import Exposure
from worker.values import Arrival

VALUE = "k-0001-d41d8cd98f00b204"
ADDRESSES = [
    "https://me:hidden@a.example/x",
    "postgresql://me:hidden@db/app",
    "https://a.example/hook?token=hidden",
    "https://a.example/hook?x=1&api_key=hidden&y=2",
    "https://a.example/hook?x-amz-signature=hidden",
    '{"password": "hidden"}',
]
HARMLESS: dict[str, Any] = {
    "public_key": VALUE, "max_tokens": 400, "compass": "north-by-1-east-of-here", "mapping": "x", "spin": "y",
    "key": "order", "username": "anna", "header": "Dear customer", "url": "https://a.example/x?page=1&size=20",
    "pass": "", "pin": None, "tokens": True, "aKey": 1,
    "text": "see https://a.example:8443/x and mail me@a.example",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TELLING if name != "public_key"])  # that is no secret
def test_a_telling_name_is_found_wherever_it_stands(name: str) -> None:
    below = {"a": [{"b": 1}, {name: VALUE}]}

    assert exposed_paths({}, {"assistant": {"model": below}}) == (f"payload.assistant.model.a.{name}",)
    assert exposed_paths(below, {}) == (f"metadata.a.{name}",)


@pytest.mark.parametrize("value", ADDRESSES)
def test_a_credential_in_an_address_or_a_text_of_json_is_found(value: str) -> None:
    assert exposed_paths({"x": [value]}, {"phone_number": {"server": {"url": value}}}) == (
        "metadata.x", "payload.phone_number.server.url",
    )  # fmt: skip


def test_what_is_sealed_is_not_told_but_where_nothing_is_sealed_it_is() -> None:
    sealed = {"api_key": VALUE, "headers": {"X-Key": VALUE}, "credentials": [{"pin": VALUE}], "name": "x"}

    assert exposed_paths({}, {"assistant": sealed}) == ()
    assert exposed_paths(sealed, {}) == (
        "metadata.api_key", "metadata.headers.X-Key", "metadata.credentials.pin",
    )  # fmt: skip
    overrides = {"assistant_overrides": {"variable_values": {"a": {"token": VALUE}}}}
    assert exposed_paths({}, {"customer": overrides}) == (
        "payload.customer.assistant_overrides.variable_values.a.token",
    )
    pair = {"extra": [{"name": "api_key", "value": VALUE}, {"name": "colour", "value": VALUE}]}
    assert exposed_paths({}, {"assistant": pair}) == ("payload.assistant.extra.value",)


def test_what_is_harmless_is_not_told() -> None:
    assert exposed_paths(HARMLESS, {"assistant": {"model": HARMLESS}}) == ()
    assert exposed_paths({}, EVERYTHING) == ()


def test_a_path_is_short_and_printable_and_there_are_few_of_them() -> None:
    deep: Any = {"pwd": VALUE}
    for _ in range(90):
        deep = {"\x1b" + "n" * 200: deep}
    many = {f"token{number}": VALUE for number in range(100)}

    (path,) = exposed_paths(deep, {})
    assert len(path) <= 200
    assert path.isprintable()
    assert len(exposed_paths(many, {})) == 5


@pytest.mark.parametrize(
    "hostile",
    [
        {"?" + "a" * 1_000_000: 1, "x": "://" + "?a" * 500_000, "y": "://" * 300_000 + "&key=" * 100_000},
        {f"{'k' * 500_000}": [{"n": 1}] * 50_000},
    ],
    ids=["long texts", "many below a long name"],
)
def test_nothing_that_somebody_sends_takes_long(hostile: dict[str, Any]) -> None:
    spent = []
    for _ in range(3):  # the garbage of all tests before may be collected meanwhile
        begun = time.process_time()
        exposed_paths(hostile, {"assistant": hostile})
        spent.append(time.process_time() - begun)

    assert min(spent) < 0.5


async def test_each_path_is_told_once_and_few_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def arrivals(*paths: str) -> list[Arrival]:
        return [Arrival(request_id=None, fingerprint=b"", session_id="", route=None, exposed=paths)]  # type: ignore[arg-type]

    exposed = Exposure()
    with capture_logs() as events:
        exposed.look(arrivals("metadata.pin", "metadata.pin", "metadata.pwd"))
        exposed.look(arrivals("metadata.pin"))
        exposed.look(arrivals(*(f"metadata.token{number}" for number in range(50))))
        assert len(events) == 10
        monkeypatch.setattr(exposure, "_MINUTE", 0)
        exposed.look(arrivals("metadata.pin", "metadata.token49"))

    assert [event["path"] for event in events][:3] == ["metadata.pin", "metadata.pwd", "metadata.token0"]
    assert [event["path"] for event in events][10:] == ["metadata.token49"]
    assert {event["event"] for event in events} == {"request.looks_like_a_credential"}


async def test_of_many_paths_the_one_that_was_told_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposure, "_REMEMBERED", 2)

    def told(*paths: str) -> list[str]:
        arrival: Any = Arrival(request_id=None, fingerprint=b"", session_id="", route=None, exposed=paths)  # type: ignore[arg-type]
        with capture_logs() as events:
            exposed.look([arrival])
        return [event["path"] for event in events]

    exposed = Exposure()
    assert told("a", "b", "a", "b") == ["a", "b"]
    assert told("c", "b") == ["c"]
    assert told("c", "a") == ["a"]
