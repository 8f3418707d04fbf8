"""Retries, resends and cancels requests, by selections that are frozen first."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from worker.console.access import Right
from worker.console.api.bodies import Change, NewSelection
from worker.console.api.call import Ask, Call
from worker.console.api.models import listed, model, of
from worker.console.context import Desk
from worker.console.freezing import Meant, frozen
from worker.console.pages import selections as pages
from worker.console.problems import bad
from worker.operations import selections
from worker.operations.filters import Filter
from worker.operations.selection_words import as_record
from worker.operations.selections import Outcome, Preview, Result, Selection

_GROUP: Final = "selections"


async def _selections(ask: Ask) -> Mapping[str, Any]:
    return {"items": [_short(each) for each in await selections.selections(ask.desk.database)]}


async def _selection(ask: Ask) -> Mapping[str, Any]:
    return await _told(ask.desk, ask.id)


async def _create(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    assert isinstance(body, NewSelection)  # noqa: S101 — the call's model
    one = await frozen(
        desk, body.action, _meant(body, desk.now), options=_options(body), rate=body.rate, reason=body.reason
    )
    if body.begin:
        await desk.works.begin(one, by=desk.who.signature, reason=body.reason)
    return await _told(desk, one.id)


async def _continue(ask: Ask) -> Mapping[str, Any]:
    one = await pages.found(ask.desk, ask.id)
    await ask.desk.works.begin(one, by=ask.desk.who.signature, reason=ask.body.reason)
    return await _told(ask.desk, one.id)


async def _stop(ask: Ask) -> Mapping[str, Any]:
    one = await pages.found(ask.desk, ask.id)
    await pages.stop(ask.desk, one, ask.body.reason)
    return await _told(ask.desk, one.id)


async def _drop(ask: Ask) -> Mapping[str, Any]:
    one = await pages.found(ask.desk, ask.id)
    await pages.drop(ask.desk, one)
    return {"id": one.id, "dropped": True}


def _meant(body: NewSelection, now: datetime) -> Meant:
    if (body.ids is None) == (body.filter is None):
        raise bad("Say which requests are meant: `ids`, or a `filter` for all that match. Nothing was done.")
    if body.filter is None:
        return Meant(list(dict.fromkeys(body.ids or ())), Filter())
    wanted = body.filter.read(now)
    if wanted == Filter():
        raise bad("filter: it is empty, and all requests would match. Nothing was done.")
    return Meant([], wanted)


def _options(body: NewSelection) -> dict[str, str]:
    """Return where the answers go, as the options of the command have it."""
    given = {name: value for name, value in (("to", body.to), ("answer", body.answer)) if value is not None}
    if len(given) > 1:
        raise bad("to, answer: answers go to a queue, or to no requester: not both. Nothing was done.")
    if given and (body.action == "cancel" or (body.answer is not None and body.action != "retry")):
        raise bad(f"{next(iter(given))}: that is not for action `{body.action}`. Nothing was done.")
    return given


async def _told(desk: Desk, key: str) -> dict[str, Any]:
    one = await pages.found(desk, key)
    results = [] if one.action == "resend" else await selections.results(desk.database, one.id)
    preview = await selections.preview(desk.database, one.id) if one.state == "prepared" else None
    return {
        **as_record(one, await selections.outcomes(desk.database, one.id), results), "left": one.left,
        "preview": preview and preview._asdict(), "trouble": desk.works.trouble(one.id),
    }  # fmt: skip


def _short(one: Selection) -> dict[str, Any]:
    return {**one._asdict(), "left": one.left}


_RECORD = of(
    "Selection", Selection, outcomes=list[of("Outcome", Outcome)], results=list[of("Result", Result)],  # type: ignore[misc]  # types
    left=int, preview=of("Preview", Preview) | None, trouble=str | None,
)  # fmt: skip

CALLS: Final = (
    Call(
        "/selections", Right.VIEW, "selections", _GROUP, "List the newest selections", _selections,
        listed("Selections", of("ListedSelection", Selection, left=int)),
    ),
    Call(
        "/selections", Right.OPERATE, "create_selection", _GROUP,
        "Freeze requests to retry, resend or cancel, and say what is in it", _create, _RECORD,
        takes=NewSelection, status=HTTPStatus.CREATED,
    ),
    Call(
        "/selections/{id}", Right.VIEW, "selection", _GROUP, "Show how far a selection is", _selection,
        _RECORD,
    ),
    Call(
        "/selections/{id}/continue", Right.OPERATE, "continue_selection", _GROUP,
        "Begin with a selection, or go on with what is left of it", _continue, _RECORD, takes=Change,
    ),
    Call(
        "/selections/{id}/stop", Right.OPERATE, "stop_selection", _GROUP,
        "Stop the work on a selection, wherever it is done", _stop, _RECORD, takes=Change,
    ),
    Call(
        "/selections/{id}/drop", Right.OPERATE, "drop_selection", _GROUP,
        "Forget a selection that nothing was done with", _drop,
        model("Dropped", {"id": str, "dropped": bool}), takes=Change,
    ),
)  # fmt: skip
