"""The page of requests: those that a filter finds, what they have in common, and all of them as a file."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from http import HTTPStatus
from typing import Final
from uuid import UUID

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.console import charts
from worker.console.addresses import Texts, fields_of, options_of, query_string, typed
from worker.console.context import Desk, desk_of
from worker.console.filtering import filter_of, page_of
from worker.console.problems import Problem, bad
from worker.console.render import page
from worker.operations import facets, listing, selections, spreadsheet
from worker.operations.facets import Explored
from worker.operations.filters import CODES, DELIVERED, SORTS, STATES, Filter
from worker.operations.listing import GoneError, Listed
from worker.postgres.database import Database

MOST_SHOWN = 100
PERIODS: Final = ("15m", "1h", "6h", "1d", "7d")
_WRITTEN_AT_ONCE = 500
_FILES: Final[dict[str, tuple[str, Callable[[Sequence[Listed]], str]]]] = {
    "csv": ("text/csv", spreadsheet.lines),
    "jsonl": (
        "application/jsonl",
        lambda rows: "".join(
            f"{json.dumps(row._asdict(), default=str, ensure_ascii=False)}\n" for row in rows
        ),
    ),
}


async def requests(request: Request) -> Response:
    """Show the requests that the address means."""
    desk, query = desk_of(request), request.query_params
    texts = typed(query, "find_org", "done")
    wanted, shown = filter_of(texts, desk.now), page_of(query)
    if shown.limit > MOST_SHOWN:
        raise bad(f"limit: a page shows {MOST_SHOWN} at most")
    part = query.get("find_org", "").strip()
    if "\0" in part:
        raise bad("find_org: it has a character that no organisation has")
    try:
        found = await facets.explore(desk.database, wanted, shown)
    except GoneError as error:
        raise Problem(HTTPStatus.GONE, f"{error}: go back to the first page.") from None
    listed = found.listing
    order = {
        name: value for name, value in (("sort", query.get("sort")), ("limit", query.get("limit"))) if value
    }
    return page(
        request, "requests.html",
        texts=texts, given=fields_of(texts), order=order, shown=shown, found=found, listed=listed,
        chart=_chart(found.histogram), facets=[_facet(facet, texts) for facet in found.facets],
        orgs=await facets.orgs_like(desk.database, part) if part else None, find_org=part,
        without=await _without(desk, wanted, texts, found),
        filters=query_string(texts), link=lambda **changes: query_string({**texts, **order}, **changes),
        more=query_string({**texts, **order}, after=listed.more) if listed.more else None,
        command=f"session-worker requests list{options_of(texts)}",
        periods=PERIODS, states=STATES, codes=CODES, delivered=DELIVERED, sorts=SORTS,
    )  # fmt: skip


async def export(request: Request) -> Response:
    """Send all that match as a file, as long as it may be."""
    desk, query = desk_of(request), request.query_params
    wanted, form = filter_of(typed(query, "format"), desk.now), query.get("format", "csv")
    if form not in _FILES:
        raise bad(f"format: {form[:100]!r} is none of {', '.join(_FILES)}")
    media, write = _FILES[form]
    chosen = selections.matching(desk.database, wanted)
    first = await anext(chosen)  # while a problem can be told
    head = spreadsheet.lines([Listed._fields]) if form == "csv" else ""
    return StreamingResponse(
        _written(desk.database, head, first, chosen, write),
        media_type=f"{media}; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="requests.{form}"'},
    )


async def _written(
    database: Database,
    head: str,
    ids: Sequence[UUID] | None,
    more: AsyncIterator[Sequence[UUID]],
    write: Callable[[Sequence[Listed]], str],
) -> AsyncIterator[str]:
    yield head
    while ids is not None:
        for start in range(0, len(ids), _WRITTEN_AT_ONCE):
            yield write(await listing.listed(database, ids[start : start + _WRITTEN_AT_ONCE]))
        ids = await anext(more, None)


def _chart(seen: facets.Histogram | None) -> Markup | None:
    """Draw when they came, by where they stand now."""
    if seen is None:
        return None
    width = max((seen.last - seen.first).total_seconds(), 1.0) / facets.PARTS
    begin = seen.first.timestamp()
    columns = [
        (
            begin + part * width,
            [(state, seen.states[state][part]) for state in STATES if state in seen.states],
        )
        for part in range(facets.PARTS)
    ]
    return charts.histogram(columns, title="When the requests came, by status", width_seconds=width)


def _facet(facet: facets.Facet, texts: Texts) -> dict[str, object]:
    """Make of each value of a facet a link that narrows the list down to it."""
    return {
        "by": facet.by,
        "more": facet.kinds - len(facet.groups),
        "chosen": texts.get(facet.by),
        "all": query_string(texts, **{facet.by: None}),
        "groups": [(name, number, query_string(texts, **{facet.by: name})) for name, number in facet.groups],
    }


async def _without(desk: Desk, wanted: Filter, texts: Texts, found: Explored) -> list[dict[str, object]]:
    """Say what is left of an empty page if one filter is taken away."""
    if found.listing.number or not texts:
        return []
    return [
        {"name": each.name, "text": texts[each.name], "number": each.number, "exact": each.exact,
         "filters": query_string(texts, **{each.name: None})}
        for each in await facets.without_each(desk.database, wanted)
    ]  # fmt: skip
