"""Delays grow, are capped, and never vanish."""

from itertools import islice

import pytest

from worker.backoff import delays, jittered


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (1000, 300), (10**9, 300)]
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert jittered(attempt, 1, 300, draw=1.0) == ceiling
    assert jittered(attempt, 1, 300, draw=0.5) == ceiling / 2
    assert jittered(attempt, 1, 300, draw=0.0) == 0


def test_the_jitter_is_full() -> None:
    drawn = [jittered(3, 1, 300) for _ in range(2000)]

    assert all(0 <= delay <= 4 for delay in drawn)
    assert min(drawn) < 0.4
    assert max(drawn) > 3.6


def test_the_delays_of_an_outage_never_end_and_are_never_nothing() -> None:
    for _ in range(50):
        outage = list(islice(delays(0.1, 5), 200))
        assert len(outage) == 200
        assert all(0.01 <= delay <= 5 for delay in outage)
        assert outage[0] <= 0.1
    assert max(outage) > 1
