"""Computes how long to wait before the next attempt: exponential, with full jitter."""

import random
from collections.abc import Iterator


def jittered(attempt: int, base: float, cap: float, draw: float | None = None) -> float:
    """Return the delay before attempt `attempt + 1`: anywhere between nothing and `base` doubled per attempt.

    Full jitter spreads the retries of many over the whole span, so that they do not come back as one wave.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 62))
    return ceiling * (random.random() if draw is None else draw)  # noqa: S311 — spreads load, guards nothing


def delays(base: float, cap: float) -> Iterator[float]:
    """Yield the delays of one outage, without end: take each with `next`. None is zero: no loop spins."""
    attempt = 1
    while True:
        yield max(base / 10, jittered(attempt, base, cap))
        attempt += 1
