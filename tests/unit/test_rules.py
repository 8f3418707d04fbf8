"""Limits are read from what people write, and say who waits."""

from datetime import UTC, datetime

import pytest

from worker.rules import Limit, Pause, PauseScope, Rules, limits_in, rules_of


def paused(scope: PauseScope, name: str) -> Pause:
    return Pause(scope, name, "a test", "me", datetime(2026, 1, 1, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", []),
        (" ; ", []),
        ("all: running=200", [Limit("all", running=200)]),
        ("each: rate=50/s burst=100", [Limit("each", rate=50.0, burst=100)]),
        ("org-7: weight=2 running=10;", [Limit("org", "org-7", running=10, weight=2.0)]),
        ("a:b: rate=0.5", [Limit("org", "a:b", rate=0.5)]),
        ("größe 🙂: weight=0.25", [Limit("org", "größe 🙂", weight=0.25)]),
        (f"{'x' * 255}: weight=1", [Limit("org", "x" * 255, weight=1.0)]),
        ("all: rate=1e3/s; b: running=1", [Limit("all", rate=1000.0), Limit("org", "b", running=1)]),
    ],
)
def test_limits_are_read(text: str, limits: list[Limit]) -> None:
    assert limits_in(text) == limits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("org-7", "is not NAME: running=N"),
        ("org-7: fast", "'fast' is none of"),
        ("org-7: running=2 running=3", "each once"),
        ("org-7: running=2.5", "not a whole number"),
        ("org-7: running=0", "session-worker pause --org org-7"),
        ("each: rate=0/s", "lets nothing begin"),
        ("all: running=0", "session-worker pause`"),
        ("org-7: weight=0", "is not a number from"),
        ("org-7: weight=-1", "is not a number from"),
        ("org-7: weight=nan", "is not a number from"),
        ("org-7: rate=inf", "is not a number from"),
        ("org-7: running=9999999999", "not a whole number"),
        ("org-7: burst=5", "a burst is of a rate"),
        ("all: weight=2", "beside others"),
        ("org-7:", "say one of"),
        (f"{'x' * 256}: weight=1", "at most 255"),
        ("a: weight=1; a: weight=2", "a is there twice"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        limits_in(text)


@pytest.mark.parametrize(
    ("rules", "org", "reason"),
    [
        (Rules(), "a", None),
        (rules_of([], [paused("all", "")]), "a", "paused"),
        (rules_of([], [paused("org", "a")]), "a", "paused"),
        (rules_of([], [paused("org", "a")]), "b", None),
        (rules_of([], [paused("org", "")]), None, "paused"),
        (rules_of([], [paused("worker", "w")]), "a", None),
        (rules_of([Limit("all", running=5)], []), "a", "over_share"),
        (rules_of([Limit("all", rate=5.0)], []), "a", "rate"),
        (rules_of([Limit("org", "a", running=5)], []), "a", "over_share"),
        (rules_of([Limit("org", "a", running=5)], []), "b", None),
        (rules_of([Limit("org", "a", weight=5.0)], []), "a", None),
        (rules_of([Limit("each", rate=5.0)], []), "a", "rate"),
        (rules_of([Limit("each", rate=5.0), Limit("org", "a", weight=2.0)], []), "a", "rate"),
        (rules_of([Limit("each", running=5), Limit("org", "a", rate=2.0)], []), "a", "rate"),
        (rules_of([Limit("org", "a", running=5)], [paused("org", "a")]), "a", "paused"),
    ],
)
def test_who_waits(rules: Rules, org: str | None, reason: str | None) -> None:
    assert rules.reason_to_wait(org) == reason
    assert rules.any_wait or reason is None


def test_a_share_is_that_of_the_organisation_else_that_of_each() -> None:
    rules = rules_of(
        [Limit("each", weight=3.0), Limit("org", "a", weight=2.0), Limit("org", "b", running=1)], []
    )

    assert [rules.weight_of(org) for org in ("a", "b", "c")] == [2.0, 3.0, 3.0]
    assert Rules().weight_of("a") == 1.0
