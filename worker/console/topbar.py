"""Looks at what each page shows above it: the worst finding, what is paused, and what is away."""

from typing import NamedTuple

from worker.console.context import Desk
from worker.console.servers import problem_of
from worker.operations import steering
from worker.operations.doctor.finding import Finding
from worker.operations.steering import PauseOnRecord

_SECONDS = 2.0


class Top(NamedTuple):
    """What the top bar shows."""

    worst: Finding | None  # None: nothing is wrong, or it was not looked yet
    wrong: int  # how many findings there are
    looked: bool
    pauses: list[PauseOnRecord]
    away: str | None  # which server is, and why


async def look(desk: Desk) -> Top:
    """Look, at most every other second for all viewers. It raises nothing: the page says what is away."""
    checked = desk.checkup.latest
    findings = checked.report.findings if checked else []
    pauses: list[PauseOnRecord] = []
    away = None
    try:
        database = desk.database
        pauses = await desk.shared("pauses", _SECONDS, lambda: steering.pauses(database))
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        away = problem.detail
    return Top(findings[0] if findings else None, len(findings), checked is not None, pauses, away)
