"""The first page: what is wrong now, what comes, goes and waits, and how that was in the last hours."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from worker.console import charts
from worker.console.charts import Mark, Series
from worker.console.context import Desk, desk_of
from worker.console.problems import bad
from worker.console.render import cut, page
from worker.console.servers import problem_of
from worker.operations import interventions, lines, measures
from worker.operations.interventions import Intervention
from worker.operations.lines import Overall
from worker.operations.measures import Deploy, Measure, Step

_REFRESH_SECONDS = 10  # as often as a row of the course is written
_HOURS = {1: 10.0, 3: 15.0, 12: 30.0, 48: 60.0}  # and for how many seconds a chart is good for all viewers
_DEFAULT_HOURS = 3
_STEPS = 120
_SHARED_SECONDS = 4.0
_NOW = timedelta(minutes=1)  # what comes and goes in a second is of the last minute
_HOUR = timedelta(hours=1)
_SPARE = timedelta(seconds=30)  # before: a rate is of two rows
_MARKS = (("deploy", "a new build"), ("pause", "paused or resumed"), ("limit", "another limit"))

PAGE_OF: Mapping[str, str] = {
    **dict.fromkeys(("retries-overdue", "waiting-lost", "waiting-long", "waiting-full", "paused"), "waiting"),
    **dict.fromkeys(
        ("unanswered", "responses-no-consumer", "responses-filling", "responses-full"), "responses"
    ),
    **dict.fromkeys(("dead-letters", "custody-full", "dead-rest"), "dead"),
    **dict.fromkeys(("retention-behind", "sessions-for-ever", "disk-growth"), "storage"),
    **dict.fromkeys(
        ("worker-none", "worker-silent", "shard-unserved", "worker-old", "settings-differ"), "workers"
    ),
    **dict.fromkeys(("handler-slow", "handler-limit", "handler-blocking"), "workers"),
    **dict.fromkeys(("keys-missing", "keys-unused", "keys-none"), "keys"),
    "requests-growing": "orgs",
    "stuck-requests": "requests",
}


class Chart(NamedTuple):
    """A chart, and what its lines are called."""

    title: str
    drawn: Markup
    keys: Sequence[tuple[str, str]]  # class and words


class Now(NamedTuple):
    """How it is now. `step` is None while nobody measures."""

    step: Step | None
    newest: Measure | None
    overall: Overall


class Course(NamedTuple):
    """How it went."""

    last_hour: int  # requests that came in it
    charts: list[Chart]


async def overview(request: Request) -> Response:
    """Show how the installation is."""
    desk = desk_of(request)
    hours = _hours(request)
    now, course, away = None, None, None
    try:
        now = await desk.shared("now", _SHARED_SECONDS, lambda: _now(desk))
        course = await desk.shared(
            f"course {hours}", _HOURS[hours], lambda: _course(desk, timedelta(hours=hours))
        )
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        away = problem.detail
    return page(
        request, "overview.html", refresh=_REFRESH_SECONDS,
        status=HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.OK,
        checked=desk.checkup.latest, page_of=PAGE_OF, current=now, course=course, away=away, hours=hours,
        choices=_HOURS,
    )  # fmt: skip


def _hours(request: Request) -> int:
    text = request.query_params.get("hours", str(_DEFAULT_HOURS))
    if text not in map(str, _HOURS):
        raise bad(f"hours: {text[:20]!r} is none of {', '.join(map(str, _HOURS))}")
    return int(text)


async def _now(desk: Desk) -> Now:
    rows = await measures.measures(desk.database, desk.now - _NOW - _SPARE)
    overall = await lines.overall(desk.database, desk.settings.lease_seconds)
    step = measures.steps(rows, desk.now - _NOW, desk.now, 1)[0]
    if rows and (desk.now - rows[-1].at).total_seconds() < measures.FRESH_SECONDS:
        return Now(step, rows[-1], overall)
    return Now(None, await measures.newest(desk.database), overall)


async def _course(desk: Desk, span: timedelta) -> Course:
    rows = await measures.measures(desk.database, desk.now - max(span, _HOUR) - _SPARE)
    begin = desk.now - span
    done = await interventions.interventions(desk.database, begin, desk.now)
    hour = measures.steps(rows, desk.now - _HOUR, desk.now, 1)[0]
    return Course(
        last_hour=round((hour.received or 0) * hour.seconds),
        charts=_charts(
            measures.steps(rows, begin, desk.now, _STEPS),
            [each for each in measures.deploys(rows) if each.at > begin],
            done,
        ),
    )


def _charts(steps: Sequence[Step], deploys: Sequence[Deploy], done: Sequence[Intervention]) -> list[Chart]:
    marks = [Mark(each.at.timestamp(), f"first seen: {each.build}") for each in deploys]
    marks += [Mark(each.at.timestamp(), cut(each.words), each.kind) for each in done]
    kinds = {mark.kind for mark in marks}
    told = [(kind, words) for kind, words in _MARKS if kind in kinds]
    begin, end = steps[0].at.timestamp(), steps[-1].at.timestamp()

    def chart(title: str, unit: str, *lines: tuple[str, str, list[float | None]]) -> Chart:
        times = [step.at.timestamp() for step in steps]
        series = [Series(kind, list(zip(times, values, strict=True))) for kind, _, values in lines]
        drawn = charts.line(series, marks, title=title, unit=unit, begin=begin, end=end)
        keys = [(kind, words) for kind, words, _ in lines]
        return Chart(title, drawn, [*keys, *told])

    return [
        chart(
            "Requests a second", "", ("in", "in", [step.received for step in steps]),
            ("out", "completed", [step.completed for step in steps]),
            ("failed", "failed", [step.failed for step in steps]),
        ),
        chart(
            "From request to answer", " s", ("p50", "half of them within", [step.p50 for step in steps]),
            ("p99", "99 % within", [step.p99 for step in steps]),
        ),
        chart(
            "What waits", "", ("in", "in the queue", [_of(step, "queued") for step in steps]),
            ("waiting", "in line, in Postgres", [_waiting(step) for step in steps]),
            ("failed", "retries due", [_of(step, "due") for step in steps]),
        ),
        chart(
            "Age of the oldest unfinished request", " s",
            ("age", "seconds", [_of(step, "oldest") for step in steps]),
        ),
    ]  # fmt: skip


def _of(step: Step, name: str) -> float | None:
    value: float | None = getattr(step.last, name) if step.last else None
    return value


def _waiting(step: Step) -> float | None:
    return float(sum(step.last.waiting.values())) if step.last else None
