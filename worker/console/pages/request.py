"""The page of one request: what has happened to it, what happens next, and what stands beside it."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.console import charts
from worker.console.access import Right
from worker.console.addresses import query_string
from worker.console.context import Desk, desk_of
from worker.console.problems import Problem, not_found
from worker.console.render import page
from worker.messages.masking import shown
from worker.operations import explaining, listing, promises, search
from worker.operations.explaining import Explanation
from worker.operations.filters import Filter, Page
from worker.operations.listing import Listed
from worker.operations.promises import Violation
from worker.operations.record import Record, body_of, find
from worker.rabbitmq.topology import names_for
from worker.tls import context_from
from worker.traceparent import trace_link

_RELATED = 10
_MOST_BARS = 20
_MINUTE = timedelta(minutes=1)


class Attempt(NamedTuple):
    """One attempt, as a bar: when it began and ended, and what of."""

    number: int
    began: datetime
    ended: datetime | None  # None: it runs, or its worker is gone
    outcome: str
    reason: str | None
    place: str | None
    worker: str | None


class Documents(NamedTuple):
    """What the right to payloads is needed for: JSON texts, in which secrets are masked."""

    asked: str | None
    response: str | None
    session: str | None


async def request(request: Request) -> Response:
    """Show one request, by its id, its session's or correlation id, or the beginning of one."""
    desk, text = desk_of(request), request.path_params["id"].replace("\0", "")
    record = await _whole(desk, text)
    if record is None:
        return await _elsewhere(request, desk, text)
    row = record["request"]
    told = await explaining.explain(desk.database, record, names_for(desk.settings.prefix).responses)
    attempts = _attempts(record, told)
    return page(
        request, "request.html",
        request_id=row["request_id"], row=row, told=told, broken=await broken(desk, row["request_id"]),
        attempts=attempts, documents=await _documents(desk, record),
        related=await _related(desk, record), neighbours=_neighbours(record),
        trace=trace_link(desk.settings.trace_url, row.get("traceparent")), session=record["session"],
        chart=_chart(attempts, desk.now),
        command=f"session-worker requests explain {row['request_id']}",
        curl=_curl(request, row["request_id"]),
    )  # fmt: skip


async def _whole(desk: Desk, text: str) -> Record | None:
    try:
        return await find(desk.database, UUID(text))
    except ValueError:
        return None


async def _elsewhere(request: Request, desk: Desk, text: str) -> Response:
    """Lead to the one whose id begins so, or to all of them; raise a 404 where there is none."""
    matches = [match for match in await search.by_id(desk.database, text) if match.status is not None]
    if not matches:
        raise await unknown(desk, text)
    url = request.app.url_path_for
    where = (
        url("request", id=str(matches[0].request_id))
        if len(matches) == 1
        else f"{url('search')}?{urlencode({'id': text})}"
    )
    return RedirectResponse(where, HTTPStatus.SEE_OTHER)


async def unknown(desk: Desk, text: str) -> Problem:
    """Make the problem of an id that no request has: say what may have become of it."""
    letters = await search.dead_letters(desk.database, text)
    days = desk.settings.retention_days
    deleted = f"was deleted after {days:g} days" if days else "was deleted"
    return not_found(
        f"No request {text[:200]} is on record: it was not accepted yet, {deleted}, or is of another "
        f"prefix than {desk.settings.prefix}. Dead letters with this id: {len(letters)}"
        + (f", the first is {letters[0]}." if letters else ".")
    )


async def broken(desk: Desk, request_id: UUID) -> list[Violation]:
    """Find the promises that are broken about a request."""
    settings = desk.settings
    url = settings.database_url.get_secret_value()
    return await promises.judge(url, request_id, context_from(settings), desk.database.schema)


def _attempts(record: Record, told: Explanation) -> list[Attempt]:
    """Put together each attempt from the history, and from what is kept of those that failed."""
    failed = {row["attempt"]: row for row in record["attempts"]}
    places = {
        event.what: event.text.removeprefix("by ")
        for event in told.events
        if event.what.startswith("attempt ")
    }
    begun: dict[int, datetime] = {}
    ended: dict[int, tuple[datetime, str]] = {}
    for step in record["history"]:
        if step["status"] == "processing":
            begun.setdefault(step["attempt"], step["at"])
        elif step["status"] in ("completed", "failed"):
            ended[step["attempt"]] = step["at"], step["status"]
    found = []
    for number, began in sorted(begun.items()):
        of = failed.get(number, {})
        end, outcome = (of["at"], of["kind"]) if of else ended.get(number, (None, "under way"))
        found.append(
            Attempt(
                number=number, began=began, ended=end, outcome=outcome,
                reason=of.get("reason"), place=of.get("place"), worker=places.get(f"attempt {number}"),
            )
        )  # fmt: skip
    return found


def _chart(attempts: Sequence[Attempt], now: datetime) -> Markup:
    """Draw how long each attempt took."""
    rows = [
        charts.Bar(
            label=f"attempt {each.number}",
            value=max(0.0, ((each.ended or now) - each.began).total_seconds()),
            kind=each.outcome.replace(" ", "-"),
            title=" · ".join(part for part in (each.outcome, each.reason, each.place) if part)[:300],
        )
        for each in attempts[-_MOST_BARS:]
    ]
    return charts.bars(rows, title="How long each attempt took", unit=" s")


def _curl(request: Request, request_id: UUID) -> str:
    return f'curl -H "Authorization: Bearer $TOKEN" {request.base_url}api/v1/requests/{request_id}'


async def _documents(desk: Desk, record: Record) -> Documents | None:
    if not desk.who.may(Right.PAYLOAD):
        return None
    session = record["session"]
    return Documents(
        asked=_masked(await body_of(desk.database, record["request"]["request_id"])),
        response=_masked(record["response"]),
        session=_masked(session and session["document"]),
    )


def _masked(document: object) -> str | None:
    return None if document is None else shown(json.dumps(document, ensure_ascii=False).encode())


async def _related(desk: Desk, record: Record) -> Sequence[Listed]:
    """Find the others with its correlation id."""
    row = record["request"]
    if not row["correlation_id"]:
        return []
    found = await listing.matching(
        desk.database, Filter(correlation=row["correlation_id"]), Page(limit=_RELATED + 1)
    )
    others = [request_id for request_id in found.ids if request_id != row["request_id"]]
    return await listing.listed(desk.database, others[:_RELATED])


def _neighbours(record: Record) -> str | None:
    """Write the address of what its organisation has sent around then."""
    row = record["request"]
    if not row["org_id"]:
        return None
    at: datetime = row["received_at"]
    return query_string(
        {
            "org": row["org_id"],
            "since": (at - _MINUTE / 2).isoformat(),
            "until": (at + _MINUTE / 2).isoformat(),
        }
    )
