"""The charts tell when people have held work back, and when a pause has ended by itself."""

from datetime import UTC, datetime, timedelta

from worker.operations.interventions import Intervention, Noted, told

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def noted(minutes: float, action: str, name: str = "", *, until: float | None = None) -> Noted:
    scope = "org" if name else "all"
    ends = None if until is None else at(until).isoformat()
    return Noted(at(minutes), "anna", action, "why", {"scope": scope, "name": name, "until": ends})


def test_each_change_is_told_and_a_pause_that_ends_by_itself_once() -> None:
    rows = [
        noted(0, "pause", until=10),
        noted(1, "pause", "org-7", until=60),
        noted(2, "limits.set", "org-7"),
        noted(3, "pause", "org-8", until=20),
        noted(4, "resume", "org-8"),
        noted(5, "pause", "org-9", until=6),
        noted(30, "pause", "org-9"),
        noted(31, "limits.clear", "org-7"),
    ]

    assert told(reversed(rows), at(40)) == [
        Intervention(at(0), "pause", "all requests paused by anna: why"),
        Intervention(at(1), "pause", "org-7 paused by anna: why"),
        Intervention(at(2), "limit", "org-7 limited anew by anna: why"),
        Intervention(at(3), "pause", "org-8 paused by anna: why"),
        Intervention(at(4), "pause", "org-8 resumed by anna: why"),
        Intervention(at(5), "pause", "org-9 paused by anna: why"),
        Intervention(at(6), "pause", "org-9: the pause by anna ends"),
        Intervention(at(10), "pause", "all requests: the pause by anna ends"),
        Intervention(at(30), "pause", "org-9 paused by anna: why"),
        Intervention(at(31), "limit", "org-7 limit cleared by anna: why"),
    ]
