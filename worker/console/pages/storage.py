"""Shows what is kept, how large it is and how it grows, and deletes what is old earlier than workers do."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.pages.works import in_words
from worker.console.problems import bad, conflict
from worker.console.reading import rate_of, read
from worker.console.render import page, size
from worker.operations import retention, works
from worker.operations.retention import Old, Status, TooYoung

USUAL_RATE = 2_000.0
_FRESH_SECONDS = 30.0
MOST_COUNTED = 10_000
_MOST_LOOKED_AHEAD = 50_000
_WITH_REQUESTS = ("requests", "recorded_transitions", "confirmed_leases", "attempts")


async def storage(request: Request) -> Response:
    """Show tables with their growth, by which rules things go, and the works that delete."""
    desk = desk_of(request)
    lease = desk.settings.lease_seconds
    found = await desk.shared("storage", _FRESH_SECONDS, lambda: retention.status(desk.database, lease))
    days = found.retention_days[-1] if found.retention_days else desk.settings.retention_days
    old = Old()
    if days:
        age = timedelta(days=days)
        old = await desk.shared(
            f"old {days}", _FRESH_SECONDS,
            lambda: retention.old_requests(desk.database, age, lambda _: None, MOST_COUNTED),
        )  # fmt: skip
    total = sum(each.table_bytes + each.index_bytes for each in found.tables)
    a_day = sum(each.day_bytes or 0 for each in found.tables)
    begun = await works.works(desk.database, ["retention.run"])
    return page(
        request,
        "storage.html",
        status_of=found,
        total=total,
        a_day=a_day,
        days=days,
        old=old,
        most=MOST_COUNTED,
        doubles=total / a_day if a_day else None,
        settings=desk.settings,
        works=[in_words(each) for each in begun],
    )


async def _preview_run(request: Request) -> Preview:
    desk = desk_of(request)
    older = read(request.query_params, "older", _age)
    said, nothing = [], None
    if older is not None:
        try:
            await retention.require_age(desk.database, older)
        except TooYoung as error:
            nothing = f"{error}."
        status = await retention.status(desk.database, desk.settings.lease_seconds)
        old = await retention.old_requests(desk.database, older, lambda _: None, _MOST_LOOKED_AHEAD)
        more = " or more" if old.gone >= _MOST_LOOKED_AHEAD else ""
        said.append(f"{old.gone:,}{more} of {status.requests:,} requests are finished and older")
        said.append(f"that is about {size(_bytes(status, old.gone))} with their history")
        if not old.gone:
            nothing = nothing or "Nothing is so old."
    said.append("What is deleted does not come back. Sessions stay. Postgres uses the room again.")
    return Preview(
        title="Delete old requests" + (f": older than {older}" if older else ""),
        lines=said,
        fields=[
            Field(
                "older", "Received and finished so long ago", value=request.query_params.get("older", ""),
                hint="as 12h or 7d", required=True,
            ),
            Field("rate", "At most so many in a second", "number", f"{USUAL_RATE:g}"),
        ],
        nothing=nothing,
        danger=True,
        back=str(request.app.url_path_for("storage")),
        command=f"session-worker retention run --older {request.query_params.get('older') or 'AGE'}",
    )  # fmt: skip


async def _run(asked: Asked) -> str:
    desk, form = asked.desk, asked.form
    older, rate = read(form, "older", _age), rate_of(form, USUAL_RATE)
    if older is None:
        raise bad("older: say how long ago, as 12h or 7d. Nothing was done.")
    work = await run(desk, older, rate=rate, reason=asked.reason)
    return str(asked.request.app.url_path_for("work", id=work))


async def run(desk: Desk, older: timedelta, *, rate: float, reason: str) -> str:
    """Begin to delete, and return the id of the work; raise a 409 for what may not go yet."""
    try:
        await retention.require_age(desk.database, older)
    except TooYoung as error:
        raise conflict(f"{error}. Nothing was done.") from None
    return await desk.long_works.begin(
        desk.database, "retention.run", options={"older_seconds": older.total_seconds(), "rate": rate},
        who=desk.who.signature, reason=reason,
    )  # fmt: skip


RUN = Action("retention_run", "Delete them", Right.ADMIN, _preview_run, _run)


def _age(text: str) -> timedelta:
    try:
        return retention.age(text)
    except ValueError as error:
        raise ValueError(f"must be {error}") from None


def _bytes(status: Status, requests: int) -> float:
    whole = sum(each.table_bytes + each.index_bytes for each in status.tables if each.name in _WITH_REQUESTS)
    return whole * requests / max(status.requests, 1)
