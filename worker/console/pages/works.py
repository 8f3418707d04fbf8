"""Shows a long work, how far it is, and stops it or lets it go on."""

import re
from datetime import timedelta
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.acting import Action, Asked, Preview
from worker.console.context import Desk, desk_of
from worker.console.problems import conflict, not_found
from worker.console.render import counted, page
from worker.operations import works
from worker.operations.works import Kind, Work

_REFRESH_SECONDS = 2
_ID = re.compile(r"[0-9a-f]{8}")
_WHAT: dict[Kind, str] = {
    "dead.replay": "Sending dead letters again",
    "keys.count": "Counting which rows need which key",
    "keys.rotate": "Sealing anew",
    "retention.run": "Deleting old requests",
}
_FOR_ADMINS: tuple[Kind, ...] = ("keys.rotate", "retention.run")


class Shown(NamedTuple):
    """A work in words."""

    work: Work
    what: str
    state: str
    told: list[str]
    asked: list[tuple[str, object]]
    share: float | None  # of it that is done; None: not known


async def work(request: Request) -> Response:
    """Show a work; while it is done, again and again."""
    shown = in_words(await _the_one(request))
    goes_on = shown.work.state == "running" and shown.work.alive
    return page(request, "work.html", shown=shown, refresh=_REFRESH_SECONDS if goes_on else None)


async def _preview_stop(request: Request) -> Preview:
    found = await _the_one(request)
    return Preview(
        title=f"Stop: {_WHAT[found.kind]}",
        lines=[*in_words(found).told, "What is done stays done. It can go on later."],
        nothing=None if found.state == "running" else "Nobody does it now.",
        back=_path(request, found),
    )


async def _stop(asked: Asked) -> str:
    found = await _the_one(asked.request)
    await stop(asked.desk, found, asked.reason)
    return _path(asked.request, found)


async def _preview_go_on(request: Request) -> Preview:
    found = await _the_one(request)
    return Preview(
        title=f"Go on: {_WHAT[found.kind]}",
        lines=in_words(found).told,
        nothing=None if found.may_go_on else "It is done, or somebody does it.",
        back=_path(request, found),
    )


async def _go_on(asked: Asked) -> str:
    found = await _the_one(asked.request)
    await go_on(asked.desk, found, asked.reason)
    return _path(asked.request, found)


STOP = Action("stop_work", "Stop it", Right.OPERATE, _preview_stop, _stop)
GO_ON = Action("go_on", "Go on", Right.OPERATE, _preview_go_on, _go_on)


def in_words(found: Work) -> Shown:
    """Say how far a work is."""
    so_far = found.progress
    of, number = so_far.get("of"), so_far.get("done", 0)
    told = []
    match found.kind:
        case "dead.replay":
            told.append(f"{number:,} of {counted(of or found.chosen, 'message')} sent")
            left = so_far.get("left", {})
            told += [f"left in custody: {many:,} {why}" for why, many in left.items()]
            if found.state == "done" and (gone := (of or 0) - number - sum(left.values())) > 0:
                told.append(f"no longer there to be sent: {gone:,}")
        case "retention.run":
            told.append(f"{number:,} of {counted(of, 'request')} deleted" if of is not None else "counting")
        case "keys.rotate":
            told.append(f"{counted(number, 'row')} sealed anew")
            if so_far.get("in_use"):
                told.append(
                    f"{counted(so_far['in_use'], 'row')} in use, or changed meanwhile: begin it again"
                )
            if so_far.get("unopened"):
                examples = ", ".join(so_far.get("examples", []))
                told.append(
                    f"{counted(so_far['unopened'], 'row')} not to be opened with this key: {examples}"
                )
        case "keys.count":
            told.append(f"{len(so_far['rows'])} kinds of rows found" if "rows" in so_far else "counting")
    if found.state == "running" and "looked" in so_far:
        told.append(f"{so_far['looked']:,} looked at" + (f", {so_far['place']}" if "place" in so_far else ""))
    share = None if not of else min(1.0, number / of)
    state = "left by its process" if found.state == "running" and not found.alive else found.state
    return Shown(found, _WHAT[found.kind], state, told, _asked(found), share)


def _asked(found: Work) -> list[tuple[str, object]]:
    """Say what was asked for."""
    options = dict(found.options)
    if "older_seconds" in options:
        options["older than"] = timedelta(seconds=options.pop("older_seconds"))
    if "edits" in options:
        options["edits"] = "; ".join(" ".join(edit) for edit in options["edits"])
    return [(name.replace("_", " "), value) for name, value in options.items() if value]


async def _the_one(request: Request) -> Work:
    return await find(desk_of(request), request.path_params["id"])


async def find(desk: Desk, work_id: str) -> Work:
    """Find a work, or raise a 404."""
    found = await works.works(desk.database, work_id=work_id) if _ID.fullmatch(work_id) else []
    if not found:
        raise not_found("There is no such work: those that ended are kept for 30 days.")
    return found[0]


async def stop(desk: Desk, found: Work, reason: str) -> None:
    """Stop a work, which some have to be admins for."""
    _require(desk, found)
    if not await works.stop(desk.database, found.id, by=desk.who.signature, reason=reason):
        raise conflict("Nobody does it now: it has ended, or somebody else was quicker.")


async def go_on(desk: Desk, found: Work, reason: str) -> None:
    """Let a work go on, which some have to be admins for."""
    _require(desk, found)
    if not await desk.long_works.go_on(desk.database, found.id, who=desk.who.signature, reason=reason):
        raise conflict("It is done, or somebody does it.")


def _require(desk: Desk, found: Work) -> None:
    if found.kind in _FOR_ADMINS:
        desk.require(Right.ADMIN)


def _path(request: Request, found: Work) -> str:
    return str(request.app.url_path_for("work", id=found.id))
