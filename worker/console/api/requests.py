"""Tells of requests: lists, what they have in common, one with its record and explanation."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from worker.console.access import Right
from worker.console.api.call import Ask, Call, Parameter
from worker.console.api.models import listed, model, of, paged
from worker.console.api.parameters import FILTERS, MOST, PAGE, TEXT, next_page
from worker.console.filtering import filter_of, page_of
from worker.console.pages.request import broken, unknown
from worker.console.problems import Problem, bad
from worker.console.reading import plain, read
from worker.messages.masking import shown
from worker.operations import explaining, facets, listing, search
from worker.operations.explaining import Event
from worker.operations.facets import KINDS, Facet, Histogram
from worker.operations.listing import GoneError, Listed
from worker.operations.promises import Violation
from worker.operations.record import Record, body_of, find
from worker.operations.search import Match
from worker.rabbitmq.topology import names_for

_GROUP: Final = "requests"


async def _requests(ask: Ask) -> Mapping[str, Any]:
    found = await _explored(ask, listing.page)
    return {
        "items": [each._asdict() for each in found.requests],
        "next": next_page(ask.request, found.more),
        **listing.as_record(found),
    }


async def _facets(ask: Ask) -> Mapping[str, Any]:
    found = await _explored(ask, facets.explore)
    return {
        "facets": [
            {**facet._asdict(), "groups": [{"name": name, "number": number} for name, number in facet.groups]}
            for facet in found.facets
        ],
        "histogram": found.histogram and found.histogram._asdict(),
        "counted": found.counted,
        "reasons_of": found.reasons_of,
    }


async def _explored(ask: Ask, look: Any) -> Any:  # noqa: ANN401 — what `look` finds
    which = page_of(ask.query)
    if which.limit > MOST:
        raise bad(f"limit: a page has {MOST} at most")
    try:
        return await look(ask.desk.database, filter_of(ask.query, ask.desk.now), which)
    except GoneError as error:
        raise Problem(HTTPStatus.GONE, f"{error}: go back to the first page.") from None


async def _search(ask: Ask) -> Mapping[str, Any]:
    text = read(ask.query, "id", plain)
    if text is None:
        raise bad(f"id: say what is looked for: an id, or {search.SHORTEST} characters of its beginning")
    return {
        "items": [each._asdict() for each in await search.by_id(ask.desk.database, text)],
        "dead_letters": await search.dead_letters(ask.desk.database, text),
    }


async def _request(ask: Ask) -> Mapping[str, Any]:
    record = await _record(ask)
    if not ask.desk.who.may(Right.PAYLOAD):
        record["response"] = None
        if record["session"] is not None:
            del record["session"]["document"]
    return record


async def _documents(ask: Ask) -> Mapping[str, Any]:
    record = await _record(ask)
    session = record["session"]
    asked = await body_of(ask.desk.database, record["request"]["request_id"])
    return {
        "request_id": record["request"]["request_id"], "request": _masked(asked),
        "response": _masked(record["response"]), "session": _masked(session and session["document"]),
    }  # fmt: skip


def _masked(document: object) -> str | None:
    return None if document is None else shown(json.dumps(document, ensure_ascii=False).encode())


async def _explanation(ask: Ask) -> Mapping[str, Any]:
    desk, record = ask.desk, await _record(ask)
    request_id = record["request"]["request_id"]
    told = await explaining.explain(desk.database, record, names_for(desk.settings.prefix).responses)
    return explaining.as_record(request_id, told, await broken(desk, request_id))


async def _record(ask: Ask) -> Record:
    try:
        request_id = UUID(ask.id)
    except ValueError:
        raise bad(
            "id: this is no request's id, which has 32 hexadecimal digits: `search` finds one"
        ) from None
    record = await find(ask.desk.database, request_id)
    if record is None:
        raise await unknown(ask.desk, str(request_id))
    return record


_LISTED = of("Request", Listed)
_OPEN = dict[str, Any]
_VALUE = model("FacetValue", {"name": str | None, "number": int})

CALLS: Final = (
    Call(
        "/requests", Right.VIEW, "requests", _GROUP, "List requests, and say how many match", _requests,
        paged(
            "Requests", _LISTED, matching=int, exact=bool, looked_at=int, more=UUID | None,
            reasons=dict[str, int], builds=dict[str, int],
        ),
        query=(*FILTERS, *PAGE),
    ),
    Call(
        "/requests/facets", Right.VIEW, "facets", _GROUP,
        "Say what those that match have in common, and when they came", _facets,
        model(
            "Facets",
            {
                "facets": list[of("Facet", Facet, groups=list[_VALUE])],  # type: ignore[misc, valid-type]  # types
                "histogram": of("Histogram", Histogram) | None,
                "counted": int,
                "reasons_of": int,
            },
            f"Facets are of {', '.join(KINDS)}.",
        ),
        query=FILTERS,
    ),
    Call(
        "/requests/{id}", Right.VIEW, "request", _GROUP,
        "Show what is on record about a request; its response and session to those who may see payloads",
        _request,
        model(
            "RequestRecord",
            {"request": _OPEN, "history": list[_OPEN], "attempts": list[_OPEN], "session": _OPEN | None,
             "response": _OPEN | None},
        ),
    ),
    Call(
        "/requests/{id}/explanation", Right.VIEW, "explanation", _GROUP,
        "Explain a request: what has happened to it, and what will", _explanation,
        model(
            "Explanation",
            {"request_id": UUID, "events": list[of("Event", Event)], "verdict": str,  # type: ignore[misc]  # as above
             "broken": list[of("Violation", Violation)], "waits": str | None, "call": str | None,  # type: ignore[misc]  # as above
             "next": str, "by_itself": bool, "command": str | None},
        ),
    ),
    Call(
        "/requests/{id}/documents", Right.PAYLOAD, "documents", _GROUP,
        "Show what was asked for, the response and the session, with what looks like a credential masked",
        _documents,
        model(
            "Documents",
            {"request_id": UUID, "request": str | None, "response": str | None, "session": str | None},
        ),
    ),
    Call(
        "/search", Right.VIEW, "search", _GROUP,
        "Find requests and dead letters by an id of any kind, or its beginning", _search,
        listed("Matches", of("Match", Match), dead_letters=list[UUID]),
        query=(Parameter("id", TEXT, "an id of any kind, or its beginning"),),
    ),
)  # fmt: skip
