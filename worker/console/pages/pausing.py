"""Pauses all requests, an organisation or a worker, and lets them go on."""

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.problems import bad, conflict
from worker.console.reading import ahead, one_of, org_of, read, uuid
from worker.console.render import counted, moment
from worker.operations import steering
from worker.operations.steering import PauseOnRecord
from worker.rules import NO_ORG, PauseScope

_SCOPES: tuple[PauseScope, ...] = ("all", "org", "worker")


class Place(NamedTuple):
    """What is paused."""

    scope: PauseScope
    name: str
    words: str  # for people

    @property
    def option(self) -> str:
        """Return it as the command line has it."""
        return "" if self.scope == "all" else f" --{self.scope} {shlex.quote(self.name)}"

    @property
    def page(self) -> str:
        return "workers" if self.scope == "worker" else "waiting"


async def _preview_pause(request: Request) -> Preview:
    desk = desk_of(request)
    place = await _place(desk, request.query_params)
    said = [
        "What is running ends as ever, and cancellations are carried out. Nothing fails of a pause: it waits."
    ]
    nothing = None
    if place.scope == "worker":
        live = [
            each for each in await steering.workers(desk.database, desk.settings.lease_seconds) if each.lives
        ]
        if place.name not in {str(each.id) for each in live}:
            nothing = "This worker does not live any more."
        said.append(f"{counted(len(live) - 1, 'other live worker')} can take what comes.")
        said.append("It stays alive. It is drained when it has nothing in hand: then it may be ended.")
    else:
        found = await steering.waiting(desk.database, place.name if place.scope == "org" else None)
        said.append(f"{counted(found.waiting, 'request waits', 'requests wait')} now.")
        if place.scope == "org" and not found.seen:
            said.append(f"None of the newest {steering.NEWEST:,} requests is of this organisation.")
    if before := await _paused(desk, place):
        said.append(f"It takes the place of the pause by {before.pause.paused_by}: {before.pause.reason}")
    return Preview(
        title=f"Pause {place.words}",
        lines=said,
        fields=[
            Field("until", "Until", hint="as +2h, or 2026-01-31T18:00Z; empty: until somebody resumes it")
        ],
        nothing=nothing,
        back=str(request.app.url_path_for(place.page)),
        command=f"session-worker pause{place.option} --reason …",
    )


async def _pause(asked: Asked) -> str:
    desk = asked.desk
    place = await _place(desk, asked.request.query_params)
    paused = await steering.pause(
        desk.database, place.scope, place.name, reason=asked.reason, by=desk.who.signature,
        until=read(asked.form, "until", ahead),
    )  # fmt: skip
    if paused is None:
        raise bad("until: is past. Nothing was paused.")
    return str(asked.request.app.url_path_for(place.page))


async def _preview_resume(request: Request) -> Preview:
    desk = desk_of(request)
    place = await _place(desk, request.query_params)
    found = await _paused(desk, place)
    said = []
    if found is not None:
        until = f", until {moment(found.pause.ends_at)}" if found.pause.ends_at else ""
        said.append(f"paused by {found.pause.paused_by} since {moment(found.pause.paused_at)}{until}")
        said.append(found.pause.reason)
    return Preview(
        title=f"Resume {place.words}",
        lines=said,
        nothing=None if found else "It is not paused.",
        back=str(request.app.url_path_for(place.page)),
        command=f"session-worker resume{place.option}",
    )


async def _resume(asked: Asked) -> str:
    desk = asked.desk
    place = await _place(desk, asked.request.query_params)
    ended = await steering.resume(
        desk.database, place.scope, place.name, by=desk.who.signature, reason=asked.reason
    )
    if ended is None:
        raise conflict("It is not paused any more: somebody else was quicker, or its end was reached.")
    return str(asked.request.app.url_path_for(place.page))


PAUSE = Action("pause", "Pause", Right.OPERATE, _preview_pause, _pause)
RESUME = Action("resume", "Resume", Right.OPERATE, _preview_resume, _resume)


async def _place(desk: Desk, fields: Mapping[str, str]) -> Place:
    """Read what is to be paused: `scope`, and its `name`."""
    scope: PauseScope = read(fields, "scope", one_of(_SCOPES)) or "all"
    match scope:
        case "all":
            return Place(scope, NO_ORG, "all requests")
        case "org":
            org = org_of(fields, "name")
            return Place(scope, org, f"the requests of {org}")
        case "worker":
            name = str(read(fields, "name", uuid) or "")
            found = await steering.workers(desk.database, desk.settings.lease_seconds)
            where = next((each.place for each in found if str(each.id) == name), name)
            return Place(scope, name, f"the worker {where}")


async def _paused(desk: Desk, place: Place) -> PauseOnRecord | None:
    found = await steering.pauses(desk.database)
    its = (each for each in found if (each.pause.scope, each.pause.name) == place[:2])
    return next(its, None)
