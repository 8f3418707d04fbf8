"""Shows what operators did: when, who, from where, what, why, and to how many."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.console.context import Desk, desk_of
from worker.console.reading import ago, plain, read, whole
from worker.console.render import page
from worker.operations import audit as kept
from worker.operations import spreadsheet
from worker.operations.audit import Entry

SHOWN = 50
_AT_ONCE = 1_000
_MOST_EXPORTED = 100_000
_LAST_NUMBER = (1 << 63) - 1
_FIELDS = ("org", "by", "action", "since", "until")
_LONGEST = 100  # characters of a value


async def audit(request: Request) -> Response:
    """Show a page of it, the newest first; `after`: go on behind this number."""
    desk = desk_of(request)
    wanted = _wanted(request)
    found = await kept.entries(
        desk.database,
        **wanted,
        before=read(request.query_params, "after", whole(_LAST_NUMBER)),
        most=SHOWN + 1,
    )
    written = urlencode(
        {name: request.query_params[name] for name in _FIELDS if request.query_params.get(name)}
    )
    return page(
        request, "audit.html", entries=[(each, in_words(each), _links(each)) for each in found[:SHOWN]],
        more=found[SHOWN - 1].number if len(found) > SHOWN else None, written=written,
    )  # fmt: skip


async def export_audit(request: Request) -> Response:
    """Write what matches as a spreadsheet, in which no cell is a formula."""
    desk, wanted = desk_of(request), _wanted(request)
    first = await kept.entries(desk.database, **wanted, most=_AT_ONCE)  # while a problem can be told

    return StreamingResponse(
        _lines(desk, wanted, first),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"},
    )


async def _lines(desk: Desk, wanted: dict[str, Any], part: list[Entry]) -> AsyncIterator[str]:
    yield spreadsheet.lines([Entry._fields])
    written = 0
    while part and written < _MOST_EXPORTED:
        yield spreadsheet.lines((*each[:6], json.dumps(each.about), each.touched) for each in part)
        written += len(part)
        part = await kept.entries(desk.database, **wanted, before=part[-1].number, most=_AT_ONCE)


def _wanted(request: Request) -> dict[str, Any]:
    query, moment = request.query_params, ago(desk_of(request).now)
    return {
        "org": read(query, "org", plain),
        "who": read(query, "by", plain),
        "action": read(query, "action", plain),
        "since": read(query, "since", moment),
        "until": read(query, "until", moment),
    }


def in_words(entry: Entry) -> str:
    """Say what a change was about."""
    parts = {name: value for name, value in entry.about.items() if value not in ("", {}, [], None)}
    if parts.get("scope") == "org":
        parts = {name: value for name, value in parts.items() if name not in ("scope", "name")}
    if chosen := parts.pop("chosen_by", None):
        parts.pop("org", None)
        parts |= {"ids": len(chosen["ids"])} if "ids" in chosen else chosen
    if letters := parts.pop("dead_letters", None):
        parts |= {"ids": len(letters["ids"])} if "ids" in letters else letters
    return ", ".join(f"{name} {str(value)[:_LONGEST]}" for name, value in parts.items())


def _links(entry: Entry) -> dict[str, str]:
    """Find what of it has a page."""
    return {name: str(entry.about[name]) for name in ("selection", "work") if name in entry.about}
