"""A request is tried for long enough and then given up: time and chance are simulated."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from worker.settings import Settings
from worker.steps.retry_rule import RetryRule, in_words
from worker.values import Tried

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CALL_SECONDS = (0.001, 0.2, 30.0)  # refused at once, answered with an error, timed out


def default_rule() -> RetryRule:
    fields = Settings.model_fields
    return RetryRule(
        max_attempts=fields["max_attempts"].default,
        base_seconds=fields["retry_base_seconds"].default,
        cap_seconds=fields["retry_cap_seconds"].default,
        retry_seconds=fields["retry_seconds"].default,
        max_put_offs=fields["max_put_offs"].default,
    )


def last_call(rule: RetryRule, away_seconds: float, call_seconds: float) -> tuple[float, int, bool]:
    """Simulates a request whose first call comes as the service goes away. Returns the time of its last call,
    its attempts, and whether it was a success."""
    at, tried, attempt = 0.0, Tried(), 1
    while True:
        if at >= away_seconds:
            return at, attempt, True
        now = BEGIN + timedelta(seconds=at + call_seconds)
        tried = tried.and_("raised", now)
        if rule.gives_up(tried, now):
            return at, attempt, False
        at += call_seconds + rule.delay("raised", tried, None)
        attempt += 1


@pytest.mark.parametrize("call_seconds", CALL_SECONDS)
def test_with_default_settings_an_outage_of_an_hour_fails_nothing(call_seconds: float) -> None:
    rule = default_rule()
    for seed in range(2000):
        random.seed(seed)
        at, attempts, succeeded = last_call(rule, 3600, call_seconds)
        assert succeeded, f"seed {seed}: given up after {at:.0f} s and {attempts} attempts"
        assert at < 3600 + rule.cap_seconds + call_seconds, "and it is made soon after"
        assert attempts < 150, "nor is the service, when it is back, met by a storm"


def test_before_this_rule_such_a_request_was_given_up_in_seconds() -> None:
    old = default_rule()._replace(retry_seconds=0)
    ends = []
    for seed in range(200):
        random.seed(seed)
        at, attempts, succeeded = last_call(old, 3600, 0.01)
        assert (attempts, succeeded) == (5, False)
        ends.append(at)
    assert max(ends) < 16


def test_what_never_succeeds_is_given_up_some_time() -> None:
    rule = default_rule()
    for seed in range(200):
        random.seed(seed)
        at, attempts, succeeded = last_call(rule, 1e9, 0.01)
        assert not succeeded
        assert attempts >= rule.max_attempts
        assert rule.retry_seconds - 1 <= at <= rule.retry_seconds + rule.cap_seconds + 1


def test_each_kind_is_counted_apart() -> None:
    rule = RetryRule(max_attempts=3, base_seconds=1, cap_seconds=10, retry_seconds=60, max_put_offs=100)
    soon, late = BEGIN + timedelta(seconds=59), BEGIN + timedelta(seconds=60)

    assert not rule.gives_up(Tried(errors=99, since=BEGIN), soon)
    assert not rule.gives_up(Tried(errors=2, put_offs=99, crashes=2, since=BEGIN), late)
    assert rule.gives_up(Tried(errors=3, since=BEGIN), late)
    assert rule.gives_up(Tried(put_offs=100, since=BEGIN), soon)
    assert rule.gives_up(Tried(crashes=3, since=BEGIN), soon)


def test_how_long_it_was_put_off_before_its_first_error_counts_for_nothing() -> None:
    rule = default_rule()
    tried, now = Tried(), BEGIN
    for kind in ("retry_later", "worker_lost"):
        tried = tried.and_(kind, now)
        now += timedelta(seconds=rule.retry_seconds)

    for _ in range(rule.max_attempts):
        tried = tried.and_("raised", now)
        assert not rule.gives_up(tried, now)
    assert rule.gives_up(tried, now + timedelta(seconds=rule.retry_seconds))


def test_the_delay_grows_with_attempts_of_its_own_kind_alone() -> None:
    rule = default_rule()
    for _ in range(200):
        assert rule.delay("raised", Tried(errors=1, put_offs=900), None) <= rule.base_seconds
        assert rule.delay("retry_later", Tried(errors=50, put_offs=1), None) <= rule.base_seconds
    assert rule.delay("retry_later", Tried(put_offs=9), 2.5) == 2.5
    assert rule.delay("retry_later", Tried(put_offs=9), -1) == 0
    assert max(rule.delay("raised", Tried(errors=1000), None) for _ in range(200)) <= rule.cap_seconds


def test_a_failure_that_is_the_handler_s_spends_no_attempt_for_a_day() -> None:
    rule, day = default_rule(), timedelta(days=1)

    assert not rule.spares(Tried(), BEGIN), "nothing has failed yet"
    assert rule.spares(Tried(since=BEGIN), BEGIN + day - timedelta(seconds=1))
    assert not rule.spares(Tried(since=BEGIN), BEGIN + day)


def test_the_delay_after_such_a_failure_grows_with_the_time_since_the_first_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    rule = RetryRule(max_attempts=3, base_seconds=0.5, cap_seconds=60)

    assert rule.spared_delay(Tried(), BEGIN) == 0.5
    for seconds, delay in ((0, 0.5), (1, 1), (30, 30), (60, 60), (3600, 60)):
        assert rule.spared_delay(Tried(since=BEGIN), BEGIN + timedelta(seconds=seconds)) == delay


def test_the_delay_doubles_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    rule = RetryRule(max_attempts=3, base_seconds=0.5, cap_seconds=6)

    assert [rule.delay("raised", Tried(errors=n), None) for n in range(1, 6)] == [0.5, 1, 2, 4, 6]
    assert [rule.delay("retry_later", Tried(put_offs=n), None) for n in range(1, 4)] == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("attempts", "tried", "words"),
    [
        (1, Tried(errors=1), "no success in 1 attempt"),
        (2, Tried(), "no success in 2 attempts"),
        (57, Tried(errors=57), "no success in 57 attempts"),
        (2, Tried(put_offs=2), "no success in 2 attempts (2 put off by the handler)"),
        (5, Tried(crashes=5), "no success in 5 attempts (5 ended with their worker)"),
        (9, Tried(5, 0, 4), "no success in 9 attempts (5 failed, 4 ended with their worker)"),
        (4, Tried(1, 3), "no success in 4 attempts (1 failed, 3 put off by the handler)"),
    ],
)  # fmt: skip
def test_the_counts_are_said_in_words(attempts: int, tried: Tried, words: str) -> None:
    assert in_words(attempts, tried) == words
