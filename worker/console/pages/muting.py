"""Muting groups of failures: `?like=` names a failed request of the group, `?id=` the group of a mute."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from starlette.requests import Request

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.problems import bad, conflict, not_found
from worker.console.reading import read, uuid
from worker.console.render import cut, moment
from worker.operations import failures, muting
from worker.operations.muting import Alike, Mute

_LASTS = (("1", "after 1 hour"), ("4", "after 4 hours"), ("24", "after 1 day"), ("168", "after 7 days"))
_DAY = timedelta(days=1)
_LONGEST = 300


async def group_of(desk: Desk, request_id: UUID) -> Alike:
    """Find the group that a failed request is of, or raise a 404."""
    group = await muting.group_of(desk.database, request_id)
    if group is None:
        raise not_found(
            f"No request {request_id} has failed, or it was deleted as old: no group is named by it."
        )
    return group


async def _preview_mute(request: Request) -> Preview:
    desk = desk_of(request)
    group = await group_of(desk, _id(request, "like"))
    found = await failures.failures(desk.database, desk.now - _DAY, None, code=group.code)
    its = [each for each in found.groups if Alike(each.code, each.reason, each.place, each.build) == group]
    number, orgs = (its[0].number, its[0].orgs) if its else (0, 0)
    lines = [
        f"{number:,} of the failures of the last day that were looked at, of {orgs:,} organisations",
        *_told(group),
        "It is shown apart until then. Nothing else changes: requests go on to fail of it, and alerts come.",
    ]
    if (there := _of(await muting.mutes(desk.database), group.id)) is not None:
        lines.append(
            f"It takes the place of a mute by {there.muted_by}, until {moment(there.ends_at)}: {there.why}"
        )
    return Preview(
        title="Mute a group of failures", lines=lines, back=_here(request),
        fields=[Field("hours", "It ends by itself", "select", "24", _LASTS)],
    )  # fmt: skip


async def _mute(asked: Asked) -> str:
    desk, hours = asked.desk, asked.form.get("hours", "")
    if hours not in dict(_LASTS):
        raise bad(f"hours: {hours[:20]!r} is none of those to choose from. Nothing was done.")
    group = await group_of(desk, _id(asked.request, "like"))
    until = timedelta(hours=int(hours))
    await muting.mute(desk.database, group, until=until, reason=asked.reason, by=desk.who.signature)
    return _here(asked.request)


async def _preview_unmute(request: Request) -> Preview:
    desk = desk_of(request)
    there = _of(await muting.mutes(desk.database), _id(request, "id"))
    lines = []
    if there is not None:
        lines = [
            *_told(there),
            f"muted by {there.muted_by} since {moment(there.muted_at)}, until {moment(there.ends_at)}",
            f"why: {there.why}",
            "It is shown among the others again.",
        ]
    return Preview(
        title="End the mute of a group of failures", lines=lines, back=_here(request),
        nothing=None if there else "This group is not muted, or not any more.",
    )  # fmt: skip


async def _unmute(asked: Asked) -> str:
    desk = asked.desk
    ended = await muting.unmute(
        desk.database, _id(asked.request, "id"), reason=asked.reason, by=desk.who.signature
    )
    if ended is None:
        raise conflict("This group is not muted any more. Nothing was done.")
    return _here(asked.request)


def _told(group: Alike | Mute) -> list[str]:
    """Say which group it is, in lines."""
    parts = (("reason", group.reason), ("place", group.place), ("build", group.build))
    return [f"code: {group.code}", *(f"{name}: {cut(text, _LONGEST)}" for name, text in parts if text)]


def _of(mutes: Sequence[Mute], group_id: UUID) -> Mute | None:
    return next((each for each in mutes if each.id == group_id), None)


def _id(request: Request, name: str) -> UUID:
    found = read(request.query_params, name, uuid)
    if found is None:
        raise bad(f"{name}: say which group is meant. Nothing was done.")
    return found


def _here(request: Request) -> str:
    return str(request.app.url_path_for("failures"))


MUTE = Action("mute", "Mute", Right.OPERATE, _preview_mute, _mute)
UNMUTE = Action("unmute", "End the mute", Right.OPERATE, _preview_unmute, _unmute)
