"""What waits is limited by what comes first of all that holds it back."""

import pytest

from worker.operations.lines import LimitedBy, Overall, limited_by

FREE = Overall(held_by=None, workers=2, calls=3, most_calls=200, full_up=False)
BUSY = FREE._replace(calls=200, full_up=True)
NOTHING = {"paused": False, "asleep_for": None, "waits_for": "over_share"}


@pytest.mark.parametrize(
    ("whole", "line", "wanted"),
    [
        (FREE, {}, "share"),
        (FREE, {"waits_for": "breaker"}, "breaker"),
        (FREE, {"asleep_for": "rate"}, "rate"),
        (FREE, {"asleep_for": "running", "waits_for": "breaker"}, "running"),
        (FREE, {"asleep_for": "not_before"}, "not_before"),
        (FREE, {"asleep_for": "rate", "paused": True}, "paused"),
        (BUSY, {}, "handler"),
        (BUSY, {"asleep_for": "rate"}, "rate"),
        (BUSY._replace(held_by="rate"), {}, "rate_of_all"),
        (BUSY._replace(held_by="running"), {"waits_for": "breaker"}, "running_of_all"),
        (BUSY._replace(held_by="paused", workers=0), {"asleep_for": "rate"}, "paused"),
        (FREE._replace(workers=0), {"asleep_for": "rate"}, "no_worker"),
        (FREE._replace(workers=0), {"paused": True}, "paused"),
    ],
)
def test_a_line_is_limited_by_what_comes_first(
    whole: Overall, line: dict[str, str], wanted: LimitedBy
) -> None:
    assert limited_by(whole, **{**NOTHING, **line}) == wanted  # type: ignore[arg-type]  # a table's row


def test_the_handler_is_named_with_its_calls() -> None:
    assert BUSY.in_words("handler") == "handler 200/200"
    assert BUSY.in_words("rate_of_all") == "rate of all"
    assert (BUSY.limited_by, FREE.limited_by) == ("handler", None)
