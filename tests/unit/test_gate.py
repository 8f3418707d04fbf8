"""The gate divides a batch into what begins, what waits and what has to stay with the broker."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import FailureCode
from worker.rules import NOTHING, Limit, Pause, PauseScope, Rules, rules_of
from worker.steps.gate import Divided, Gate
from worker.values import Arrival, Refusal, Route, Waiting

NOBODY = Route(None, None, None)
REFUSAL = Refusal(FailureCode.INVALID_REQUEST, "wrong")


def paused(scope: PauseScope, name: str) -> Pause:
    return Pause(scope, name, "a test", "me", datetime(2026, 1, 1, tzinfo=UTC), None)


def arrival(number: int, org: str | None = "a", **given: object) -> Arrival:
    made = Arrival(
        request_id=UUID(int=number), fingerprint=b"", session_id="ts", route=NOBODY, org_id=org, body="{}"
    )
    return made._replace(**given)  # type: ignore[arg-type]  # the fields of a test


def some(*orgs: str) -> list[Arrival]:
    return [arrival(number, org) for number, org in enumerate(orgs)]


def gate(
    *,
    rules: Rules = NOTHING,
    in_line: tuple[str, ...] = (),
    backlog: bool = False,
    fair: bool = True,
    most: int = 1000,
    broken: bool = False,
    quick: bool = False,
) -> Gate:
    made = Gate(
        "me",
        fair=fair,
        max_waiting=most,
        quick=quick,
        is_backlogged=lambda: backlog,
        breaker_is_open=lambda: broken,
    )
    made.learn(rules, in_line)
    return made


def reasons(divided: Divided) -> Counter[str]:
    return Counter(one.reason for one in divided.wait)


def orgs(arrivals: list[Arrival]) -> Counter[str | None]:
    return Counter(one.org_id for one in arrivals)


def test_what_there_is_room_for_begins_in_the_order_in_which_it_came() -> None:
    arrivals = some("a", "a", "a", "a")

    assert gate().divide(arrivals, 4) == Divided(arrivals, [], [])


def test_what_is_left_without_a_slot_waits_and_each_organisation_has_its_turn() -> None:
    divided = gate().divide(some("a", "a", "a", "a", "b", "c"), 3)

    assert orgs(divided.begin) == {"a": 1, "b": 1, "c": 1}
    assert reasons(divided) == {"over_share": 3}


def test_turns_follow_weights() -> None:
    rules = rules_of([Limit("org", "a", weight=2.0)], [])
    divided = gate(rules=rules).divide(some(*"aaaaaabbbbbb"), 6)

    assert orgs(divided.begin) == {"a": 4, "b": 2}


def test_the_first_turn_is_that_of_the_greater_weight() -> None:
    rules = rules_of([Limit("org", "a", weight=2.0)], [])

    assert orgs(gate(rules=rules).divide(some("b", "a"), 1).begin) == {"a": 1}


def test_a_refused_request_begins_without_a_slot_whatever_the_rules() -> None:
    refused = arrival(1, refusal=REFUSAL, body=None)

    assert gate(rules=rules_of([], [paused("all", "")])).divide([refused], 0).begin == [refused]


def test_what_waits_for_its_time_waits_and_so_does_what_a_rule_holds_back() -> None:
    later = arrival(1, not_before=datetime.now(UTC) + timedelta(hours=1))
    held = arrival(2, "held")
    rules = rules_of([Limit("org", "slow", rate=1.0)], [paused("org", "held")])
    divided = gate(rules=rules).divide([later, held, arrival(3, "slow"), arrival(4)], 9)

    assert divided.begin == [arrival(4)]
    assert divided.wait[:2] == [Waiting(later, "not_before"), Waiting(held, "paused")]
    assert reasons(divided) == {"not_before": 1, "paused": 1, "rate": 1}


def test_what_was_held_until_its_time_had_come_begins_though_there_is_no_room_to_wait() -> None:
    full = gate(most=0)
    early = arrival(1, not_before=datetime.now(UTC) + timedelta(hours=1))
    in_time = arrival(2, not_before=datetime.now(UTC) - timedelta(seconds=1))

    assert full.divide([early, in_time], 4) == Divided([in_time], [], [early])


def test_who_is_in_line_already_gets_in_line_again() -> None:
    divided = gate(in_line=("a",)).divide(some("a", "b"), 2)

    assert orgs(divided.begin) == {"b": 1}
    assert reasons(divided) == {"over_share": 1}


def test_without_fair_shares_nobody_waits_for_others() -> None:
    unfair = gate(fair=False, in_line=("a",), backlog=True)

    assert orgs(unfair.divide(some("a", "a", "a", "b"), 9).begin) == {"a": 3, "b": 1}
    assert not unfair.takes_without_slots


def test_a_flood_waits_for_the_others_while_there_is_more_behind_it() -> None:
    flood = some(*["flood"] * 120, *["quiet"] * 8)

    assert not gate().divide(flood, 128).wait, "there may be nobody behind it"
    divided = gate(backlog=True).divide(flood, 128)
    assert orgs(divided.begin) == {"flood": 64, "quiet": 8}
    assert reasons(divided) == {"over_share": 56}


def test_one_organisation_alone_never_waits_for_others() -> None:
    assert not gate(backlog=True).divide(some(*["flood"] * 128), 128).wait


def test_shares_that_differ_by_chance_are_no_reason_to_wait() -> None:
    alike = some(*["a"] * 40, *["b"] * 46, *["c"] * 42)

    assert not gate(backlog=True).divide(alike, 128).wait


def test_of_two_that_have_a_hundred_together_one_has_more_than_by_chance_with_seventy_nine() -> None:
    assert not gate(backlog=True).divide(some(*["a"] * 78, *["b"] * 22), 100).wait
    assert gate(backlog=True).divide(some(*["a"] * 79, *["b"] * 21), 100).wait


def test_without_room_in_postgres_what_may_not_begin_is_held() -> None:
    full = gate(rules=rules_of([], [paused("org", "held")]), most=1, in_line=("a",), backlog=True)
    divided = full.divide([*some("held", "held"), arrival(3)], 3)

    assert (len(divided.wait), len(divided.hold)) == (1, 1)
    assert divided.begin == [arrival(3)], "whoever may begin does, though others are in line"
    assert full.full
    assert not full.takes_without_slots


def test_as_many_wait_as_there_is_room_for() -> None:
    divided = gate(rules=rules_of([], [paused("all", "")]), most=3).divide(some(*"abcde"), 9)

    assert (len(divided.wait), len(divided.hold)) == (3, 2)


def test_while_the_breaker_is_open_that_is_the_reason() -> None:
    assert reasons(gate(broken=True).divide(some("a", "a"), 1)) == {"breaker": 1}


def test_deliveries_are_taken_without_slots_while_somebody_is_in_line_or_behind() -> None:
    assert gate(in_line=("a",)).takes_without_slots
    assert gate(backlog=True).takes_without_slots
    assert not gate().takes_without_slots


def test_where_requests_begin_quickly_one_line_alone_makes_nobody_wait() -> None:
    assert not gate(quick=True, in_line=("a",)).divide(some("a"), 1).wait
    assert reasons(gate(quick=True, in_line=("a", "b")).divide(some("a"), 1)) == {"over_share": 1}


def test_where_requests_begin_quickly_a_backlog_counts_once_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, backlog = [100.0], [True]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    quick = Gate(
        "me",
        fair=True,
        max_waiting=9,
        quick=True,
        is_backlogged=lambda: backlog[0],
        breaker_is_open=lambda: False,
    )

    def seen_at(at: float) -> bool:
        now[0] = at
        return quick.takes_without_slots

    assert [seen_at(at) for at in (100, 102.9, 103, 200)] == [False, False, True, True]
    backlog[0] = False
    assert not seen_at(201)
    backlog[0] = True
    assert [seen_at(at) for at in (202, 204.9, 205)] == [False, False, True]


def test_who_has_joined_is_in_line_unless_it_waits_for_its_time() -> None:
    made = gate()
    seen = [made.takes_without_slots]
    made.joined([Waiting(arrival(1, "late"), "not_before")])
    seen.append(made.takes_without_slots)
    made.joined([Waiting(arrival(2, "a"), "rate"), Waiting(arrival(3, None), "paused")])
    seen.append(made.takes_without_slots)
    assert seen == [False, False, True]
    assert orgs(made.divide(some("a", "b", "late"), 9).begin) == {"b": 1, "late": 1}
    assert not made.divide([arrival(4, None)], 9).begin


async def test_whoever_waits_for_a_change_hears_of_rules_and_of_who_joins() -> None:
    made = gate()
    changes: list[Callable[[], None]] = [
        lambda: made.learn(NOTHING, ()),
        lambda: made.joined([Waiting(arrival(1), "over_share")]),
        lambda: made.learn(NOTHING, ("a",)),
    ]
    for change in changes:
        waits = asyncio.create_task(made.change())
        await asyncio.sleep(0)
        assert not waits.done(), "it was told of the change before"
        change()
        await asyncio.wait_for(waits, 60)


def test_it_tells_of_the_rules_and_of_how_many_wait() -> None:
    made = gate(rules=rules_of([Limit("org", "a", weight=2.5)], [paused("worker", "me")]), most=5)

    assert (made.weight_of("a"), made.weight_of("b")) == (2.5, 1.0)
    assert made.worker_paused
    assert not gate(rules=rules_of([], [paused("worker", "other")])).worker_paused
    made.counted(4)
    assert not made.full
    made.counted(5)
    assert made.full


@given(
    st.lists(st.sampled_from("abcd"), max_size=60),
    st.integers(0, 60),
    st.booleans(),
    st.integers(0, 60),
    st.sets(st.sampled_from("abcd")),
)
def test_each_request_goes_one_way_and_no_more_begin_than_there_is_room_for(
    names: list[str], room: int, backlog: bool, most: int, in_line: set[str]
) -> None:
    arrivals = some(*names)
    divided = gate(backlog=backlog, most=most, in_line=tuple(in_line)).divide(arrivals, room)

    ways = [*divided.begin, *(one.arrival for one in divided.wait), *divided.hold]
    assert sorted(one.request_id for one in ways) == [one.request_id for one in arrivals]
    assert len(divided.begin) <= room
    assert len(divided.wait) <= most
