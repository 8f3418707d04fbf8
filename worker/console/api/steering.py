"""What waits, limits and pauses as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from worker.console.access import Right
from worker.console.api.bodies import NewLimit, NewPause, NoLimit, NoPause
from worker.console.api.call import Ask, Call
from worker.console.api.models import Fields, fields_of, listed, model, of
from worker.console.pages.pausing import place_of
from worker.console.problems import bad, conflict
from worker.console.reading import ahead, org_of, plain, read
from worker.operations import lines, steering
from worker.operations.lines import Due, LimitedBy, Line, Overall, Reason
from worker.operations.steering import LimitOnRecord, limit_as_record, pause_as_record
from worker.rules import NO_ORG, Limit, PauseScope, Scope, limit_of

_VALUES: Final = ("rate", "burst", "running", "weight")
_LINES: Final = 50


async def _waiting(ask: Ask) -> Mapping[str, Any]:
    found = await lines.look(ask.desk.database, _LINES, ask.desk.settings.lease_seconds)
    return {
        "due": found.due._asdict(), "reasons": [each._asdict() for each in found.reasons],
        "items": [{**each._asdict(), "limit": each.limit._asdict()} for each in found.lines],
        "overall": {**found.overall._asdict(), "limited_by": found.overall.limited_by}, "lines": found.number,
    }  # fmt: skip


async def _limits(ask: Ask) -> Mapping[str, Any]:
    return {"items": [limit_as_record(each) for each in await steering.limits(ask.desk.database)]}


async def _set_limit(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    scope, name = _whose(body)
    given = {each: f"{value:.15g}" for each in _VALUES if (value := getattr(body, each)) is not None}
    try:
        change = limit_of(scope, name, **given)
    except ValueError as error:
        raise bad(f"{error}. Nothing was done.") from None
    limit = await steering.set_limit(desk.database, change, reason=body.reason, by=desk.who.signature)
    return {**limit._asdict(), "reason": body.reason, "by": desk.who.signature}


async def _clear_limit(ask: Ask) -> Mapping[str, Any]:
    scope, name = _whose(ask.body)
    removed, setting = await steering.clear_limit(
        ask.desk.database, scope, name, by=ask.desk.who.signature, reason=ask.body.reason
    )
    if removed is None:
        raise conflict("No command has set such a limit, or it is cleared already. Nothing was done.")
    return {
        "scope": scope, "name": name, "cleared": True, "before": removed._asdict(),
        "setting": setting and setting._asdict(),
    }  # fmt: skip


def _whose(body: NewLimit | NoLimit) -> tuple[Scope, str]:
    if (body.scope == "org") != (body.org is not None):
        raise bad("org: say which one, with scope `org`, and with no other. Nothing was done.")
    return body.scope, NO_ORG if body.org is None else org_of({"org": body.org}, "org")


async def _pauses(ask: Ask) -> Mapping[str, Any]:
    found = await steering.pauses(ask.desk.database)
    return {"items": [{"place": None, **pause_as_record(one.pause, one.place)} for one in found]}


async def _pause(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    until = read({"until": body.until or ""}, "until", ahead)
    workers = await steering.workers(desk.database, desk.settings.lease_seconds)
    place = place_of(_org(body), body.worker and str(body.worker), workers)
    paused = await steering.pause(
        desk.database, place.scope, place.name, reason=body.reason, by=desk.who.signature, until=until
    )
    if paused is None:
        raise bad("until: it is past. Nothing was done.")
    return {
        **pause_as_record(paused.pause), "before": paused.before and pause_as_record(paused.before),
    }  # fmt: skip


async def _resume(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    workers = await steering.workers(desk.database, desk.settings.lease_seconds)
    place = place_of(_org(body), body.worker and str(body.worker), workers, may_be_gone=True)
    ended = await steering.resume(
        desk.database, place.scope, place.name, by=desk.who.signature, reason=body.reason
    )
    if ended is None:
        raise conflict(f"{place.words}: there is no pause. Nothing was done.")
    return {
        "scope": place.scope, "name": place.name, "resumed": True, "before": pause_as_record(ended),
    }  # fmt: skip


def _org(body: NoPause) -> str | None:
    return read({"org": body.org or ""}, "org", plain)


_LIMIT = fields_of(Limit)
_PAUSE: Fields = {
    "scope": PauseScope, "name": str, "reason": str, "by": str, "since": datetime, "until": datetime | None,
}  # fmt: skip
_OF_PAUSE = model("Pause", _PAUSE)

CALLS: Final = (
    Call(
        "/waiting", Right.VIEW, "waiting", "waiting", "Say what waits, and why", _waiting,
        listed(
            "Waiting", of("Line", Line, limit=model("Limit", _LIMIT)), due=of("Due", Due),
            reasons=list[of("WaitReason", Reason)], lines=int,  # type: ignore[misc]  # a type
            overall=of("Overall", Overall, limited_by=LimitedBy | None),
        ),
    ),
    Call(
        "/limits", Right.VIEW, "limits", "limits", "List the limits, and what waits under them", _limits,
        listed(
            "Limits",
            model("LimitOnRecord", {**_LIMIT, **fields_of(LimitOnRecord, "limit")}),
        ),
    ),
    Call(
        "/limits", Right.OPERATE, "set_limit", "limits", "Set a limit", _set_limit,
        model("LimitSet", {**_LIMIT, "reason": str, "by": str}), takes=NewLimit,
    ),
    Call(
        "/limits/clear", Right.OPERATE, "clear_limit", "limits", "Clear a limit", _clear_limit,
        model(
            "LimitCleared",
            {"scope": Scope, "name": str, "cleared": bool, "before": model("LimitBefore", _LIMIT),
             "setting": model("LimitOfSetting", _LIMIT) | None},
        ),
        takes=NoLimit,
    ),
    Call(
        "/pauses", Right.VIEW, "pauses", "pauses", "List what is paused", _pauses,
        listed("Pauses", model("PauseOnRecord", {**_PAUSE, "place": str | None})),
    ),
    Call(
        "/pauses", Right.OPERATE, "pause", "pauses", "Pause everything, an organisation or a worker", _pause,
        model("Paused", {**_PAUSE, "before": _OF_PAUSE | None}), takes=NewPause,
    ),
    Call(
        "/pauses/resume", Right.OPERATE, "resume", "pauses", "End a pause", _resume,
        model("Resumed", {"scope": PauseScope, "name": str, "resumed": bool, "before": _OF_PAUSE}),
        takes=NoPause,
    ),
)  # fmt: skip
