"""Deliveries wait in lines, and each line has its turn."""

from collections.abc import Iterable
from typing import Any, cast
from unittest.mock import sentinel

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from worker.messages.envelope import Message
from worker.messages.org import org_in
from worker.rabbitmq.channel_session import ChannelSession, Delivery
from worker.rabbitmq.fair_buffer import FairBuffer

HERE, THERE = cast("ChannelSession", sentinel.here), cast("ChannelSession", sentinel.there)


def delivery(tag: int, session: ChannelSession = HERE) -> Delivery:
    return Delivery(tag, Message(b"", spec.Basic.Properties(), None), session, 0.0)


def filled(lines: Iterable[str], **weights: float) -> FairBuffer[Delivery]:
    """Returns a buffer to which one delivery after the other came, for these lines."""
    buffer = FairBuffer[Delivery](lambda name: weights.get(name, 1.0), 10)
    for tag, name in enumerate(lines):
        buffer.add(name, delivery(tag))
    return buffer


def taken(buffer: FairBuffer[Delivery], most: int) -> list[int]:
    return [buffer.next().tag for _ in range(min(most, len(buffer)))]


def test_who_comes_late_is_not_behind_a_flood() -> None:
    buffer = filled(["flood"] * 1000)
    assert taken(buffer, 10) == list(range(10))
    buffer.add("quiet", delivery(5000))
    assert 5000 in taken(buffer, 2)


def test_each_gets_the_share_of_its_weight() -> None:
    buffer = filled(["a", "b"] * 300, a=2.0)
    first = taken(buffer, 300)
    assert 199 <= sum(tag % 2 == 0 for tag in first) <= 201


def test_a_line_that_comes_again_has_saved_up_nothing() -> None:
    buffer = filled(["a"])
    taken(buffer, 1)
    for tag in range(100):
        buffer.add("b", delivery(tag))
    taken(buffer, 50)
    for tag in range(1000, 1100):
        buffer.add("a", delivery(tag))
    assert 9 <= sum(tag >= 1000 for tag in taken(buffer, 20)) <= 11


def test_who_is_taken_at_once_has_no_more_than_its_share() -> None:
    buffer, order = filled(["flood"] * 1000), list[int]()
    for tag in range(100):
        buffer.add("eager", delivery(2000 + tag))
        while buffer.passes_by:
            order.append(buffer.next().tag)
        order += taken(buffer, tag % 2)
    of_flood = sum(tag < 1000 for tag in order)
    assert abs(len(order) - 2 * of_flood) <= 2


def test_who_has_had_its_turn_and_comes_again_is_behind_those_who_wait() -> None:
    buffer, order = filled(["flood"] * 1000), list[int]()
    for tag in range(2000, 2020):
        buffer.add("eager", delivery(tag))
        while tag not in order:
            order += taken(buffer, 1)
    assert len(order) >= 39, "one of the flood before each"


def test_when_nobody_waits_nobody_owes() -> None:
    buffer = filled(["a"] * 3)
    assert taken(buffer, 3) == [0, 1, 2]

    buffer.add("a", delivery(10))
    buffer.add("b", delivery(11))
    assert taken(buffer, 2) == [10, 11]


def test_a_line_that_grows_and_shrinks_is_long_with_more_than_ten() -> None:
    buffer, seen = filled(["flood"] * 11), list[bool]()
    for tag in (100, 101):
        buffer.next()
        buffer.add("flood", delivery(tag))
        buffer.add(f"quiet-{tag}", delivery(tag))
        seen.append(buffer.passes_by)
        while buffer.passes_by:
            buffer.next()
    buffer.next()
    buffer.add("quiet", delivery(200))
    seen.append(buffer.passes_by)
    assert seen == [True, True, False]


@pytest.mark.parametrize(("long", "shortest"), [(40, 5), (4, 1)])
def test_a_line_is_short_with_an_eighth_of_a_long_one_and_with_one_in_any_case(
    long: int, shortest: int
) -> None:
    for size, passes in ((shortest, True), (shortest + 1, False)):
        buffer: FairBuffer[Delivery] = FairBuffer(lambda _name: 1.0, long)
        for name in ["flood"] * (long + 3) + ["other"] * size:
            buffer.add(name, delivery(0))
        buffer.next()
        assert buffer.passes_by is passes


def test_a_line_that_has_lost_much_is_long_no_more_and_is_passed_by_no_more() -> None:
    buffer = filled(["flood"] * 20)
    buffer.add("quiet", delivery(100))
    assert taken(buffer, 1) == [0]
    seen = [buffer.passes_by]
    assert [one.tag for one in buffer.heads()] == [1, 100]

    for last in (8, 9):  # eleven are left, and then ten, with which it is not long
        buffer.drop(lambda one, last=last: one.tag <= last)  # type: ignore[misc] # it binds this one
        seen.append(buffer.passes_by)
    assert seen == [True, True, False]
    assert taken(buffer, 11) == [100, *range(10, 20)]


@given(st.sets(st.integers(0, 15)), st.integers(0, 16))
def test_when_lines_are_lost_the_others_keep_their_turns(lost: set[int], again: int) -> None:
    names = [f"line-{number}" for number in range(16)]
    buffer = filled(names * 3)
    assert taken(buffer, 16 + again) == [*range(16), *range(16, 16 + again)]

    buffer.drop(lambda one: one.tag % 16 in lost)

    rest = [tag for tag in range(16 + again, 48) if tag % 16 not in lost]
    assert taken(buffer, 48) == rest


def test_it_passes_by_only_before_a_long_line() -> None:
    buffer = filled(["a", "b"] * 5)
    buffer.add("c", delivery(100))
    before = buffer.passes_by
    for tag in range(200, 210):
        buffer.add("a", delivery(tag))
    taken(buffer, 3)
    buffer.add("d", delivery(300))
    assert (before, buffer.passes_by) == (False, True), "at first no line is long"
    assert 300 in taken(buffer, 3)
    taken(buffer, 100)
    assert not len(buffer)


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.data())
def test_nothing_is_lost_and_each_line_keeps_its_order(names: list[str], data: Any) -> None:
    buffer, got = filled([]), list[int]()
    for tag, name in enumerate(names):
        buffer.add(name, delivery(tag, HERE if tag % 2 else THERE))
        got += taken(buffer, data.draw(st.integers(0, 2)))
    assert len(buffer) == len(names) - len(got)
    rest = sorted(set(range(len(names))) - set(got))
    assert sorted(one.tag for one in buffer) == rest
    if data.draw(st.booleans()):
        buffer.drop(lambda one: one.session is HERE)
        rest = [tag for tag in rest if tag % 2 == 0]
    if data.draw(st.booleans()):
        assert sorted(one.tag for one in buffer.take_all()) == rest
        assert not len(buffer)
    else:
        got_at_last = taken(buffer, len(names))
        assert sorted(got_at_last) == rest
        got += got_at_last
    for name in "abcd":
        of_it = [tag for tag in got if names[tag] == name]
        assert of_it == sorted(of_it)


def test_the_organisation_is_read_as_the_request_has_it() -> None:
    assert org_in(b'{"org_id": "acme", "payload": {}}') == "acme"
    assert org_in('{"payload": {"text": "x"}, "org_id" : "ä"}'.encode()) == "ä"
    assert org_in(b'{"payload": {"org_id": "other"}, "org_id": "acme"}') == "acme"
    assert org_in(b'{"payload": {"org_id": "other"}, "org\\u005fid": "acme"}') == "acme"
    assert org_in(b'{"org_id": "one", "org_id": "acme"}') == "acme"
    assert org_in(b'{"org_id": "a\\"b"}') == 'a"b'
    for none in (b"", b"[]", b"{", b'{"org_id": 7}', b'{"org_id": null, "org_id": 3}', b"\xff", b"[" * 9999):
        assert org_in(none) == ""


def test_among_lines_that_are_about_equal_none_is_passed_by() -> None:
    """Between two turns that pass by, a batch ends. So batches would be small, and small ones cost more."""
    buffer = FairBuffer[int](lambda _name: 1.0, long=128)
    for org in range(100):
        for one in range(120 + org % 20):
            buffer.add(f"org-{org}", one)
    passed = 0
    while len(buffer) > 2_000:
        buffer.next()
        passed += buffer.passes_by
    assert passed == 0
