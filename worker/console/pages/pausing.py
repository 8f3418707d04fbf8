"""Pausing and resuming: everything, an organisation (`?org=`) or a worker (`?worker=ID`)."""

import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from starlette.requests import Request

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.problems import bad, conflict, not_found
from worker.console.render import counted, moment
from worker.operations import steering
from worker.operations.steering import MOST_COUNTED, PauseOnRecord, Worker
from worker.rules import NO_ORG, Pause, PauseScope, check_org

_LASTS = (
    ("", "until somebody resumes"),
    ("15", "15 minutes"),
    ("60", "1 hour"),
    ("240", "4 hours"),
    ("1440", "1 day"),
)


class Place(NamedTuple):
    """What is paused."""

    scope: PauseScope
    name: str
    words: str

    @property
    def page(self) -> str:
        """Return the path of the page that shows what is paused."""
        return "/workers" if self.scope == "worker" else "/"


async def _preview_pause(request: Request) -> Preview:
    desk = desk_of(request)
    workers = await steering.workers(desk.database, desk.settings.lease_seconds)
    place = _place(request, workers)
    lines = [_in_force(place, workers)]
    if place.scope != "worker":
        lines.append(await _waiting(desk, place))
    lines.append(
        "What is running ends as ever, and cancellations are carried out. Nothing fails of a pause: it waits."
    )
    if (there := _there(await steering.pauses(desk.database), place)) is not None:
        lines.append(f"It takes the place of a pause {_told(there)}.")
    return Preview(
        title=f"Pause {place.words}",
        lines=lines,
        fields=[Field("minutes", "It ends by itself", "select", "", _LASTS)],
        back=place.page,
        command=f'session-worker pause{_option(place)} --reason "…"',
    )


async def _pause(asked: Asked) -> str:
    desk = asked.desk
    place = _place(asked.request, await steering.workers(desk.database, desk.settings.lease_seconds))
    minutes = asked.form.get("minutes", "")
    if minutes not in dict(_LASTS):
        raise bad(f"minutes: {minutes[:20]!r} is none of those to choose from. Nothing was done.")
    until = timedelta(minutes=int(minutes)) if minutes else None
    await steering.pause(
        desk.database, place.scope, place.name, reason=asked.reason, by=desk.who.signature, until=until
    )
    return place.page


async def _preview_resume(request: Request) -> Preview:
    desk = desk_of(request)
    place = _place(
        request, await steering.workers(desk.database, desk.settings.lease_seconds), may_be_gone=True
    )
    there = _there(await steering.pauses(desk.database), place)
    nothing = None if there else f"{place.words[0].upper()}{place.words[1:]}: there is no pause."
    lines = [f"The pause {_told(there)} ends."] if there else []
    if there and place.scope != "worker":
        lines.append(await _waiting(desk, place))
    return Preview(
        title=f"Resume {place.words}", lines=lines, nothing=nothing, back=place.page,
        command=f"session-worker resume{_option(place)}",
    )  # fmt: skip


async def _resume(asked: Asked) -> str:
    desk = asked.desk
    place = _place(
        asked.request, await steering.workers(desk.database, desk.settings.lease_seconds), may_be_gone=True
    )
    ended = await steering.resume(
        desk.database, place.scope, place.name, by=desk.who.signature, reason=asked.reason
    )
    if ended is None:
        raise conflict(
            f"{place.words[0].upper()}{place.words[1:]}: there is no pause any more. Nothing was done."
        )
    return place.page


def _place(request: Request, workers: Sequence[Worker], *, may_be_gone: bool = False) -> Place:
    query = request.query_params
    return place_of(query.get("org"), query.get("worker"), workers, may_be_gone=may_be_gone)


def place_of(
    org: str | None, worker: str | None, workers: Sequence[Worker], *, may_be_gone: bool = False
) -> Place:
    """Say what is meant: an organisation, a worker that lives (or may be gone), or else everything."""
    if org and worker:
        raise bad("org and worker: say one of them")
    if org:
        try:
            check_org(org)
        except ValueError as error:
            raise bad(f"org: {error}") from None
        return Place("org", org, f"the requests of {org}")
    if not worker:
        return Place("all", NO_ORG, "all requests")
    try:
        key = UUID(worker)
    except ValueError:
        raise bad(f"worker: {worker[:60]!r} is no worker's id") from None
    found = next((each for each in workers if each.id == key and (each.lives or may_be_gone)), None)
    if found is None and not may_be_gone:
        raise not_found(f"No live worker is {key}: it has stopped, or was not heard of for a lease.")
    return Place("worker", str(key), f"the worker {found.place if found else key}")


def _in_force(place: Place, workers: Sequence[Worker]) -> str:
    if place.scope == "worker":
        return "In force within a second. Others work on what it held; it stays alive and ready."
    live = sum(each.lives for each in workers)
    if not live:
        return "No worker lives now: it holds for each that starts."
    return f"In force within a second, on {counted(live, 'live worker')} and on those that start later."


async def _waiting(desk: Desk, place: Place) -> str:
    waiting = (await steering.waiting(desk.database, place.name if place.scope == "org" else None)).waiting
    more = " or more" if waiting >= MOST_COUNTED else ""
    return f"{waiting:,}{more} of them {'waits' if waiting == 1 else 'wait'} now."


def _there(pauses: Sequence[PauseOnRecord], place: Place) -> Pause | None:
    return next(
        (one.pause for one in pauses if (one.pause.scope, one.pause.name) == (place.scope, place.name)), None
    )


def _told(pause: Pause) -> str:
    until = f", until {moment(pause.ends_at)}" if pause.ends_at else ""
    return f"by {pause.paused_by} since {moment(pause.paused_at)}{until}: {pause.reason}"


def _option(place: Place) -> str:
    return {"all": "", "org": f" --org {shlex.quote(place.name)}", "worker": f" --worker {place.name}"}[
        place.scope
    ]


PAUSE = Action("pause", "pause", Right.OPERATE, _preview_pause, _pause)
RESUME = Action("resume", "resume", Right.OPERATE, _preview_resume, _resume)
