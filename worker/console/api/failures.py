"""Groups what has failed, and mutes a group for a time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.console.access import Right
from worker.console.api.bodies import Change, NewMute
from worker.console.api.call import Ask, Call
from worker.console.api.models import listed, of
from worker.console.api.parameters import FILTERS
from worker.console.filtering import filter_of
from worker.console.pages.muting import group_of
from worker.console.problems import bad, conflict
from worker.console.reading import ahead, read
from worker.operations import failures, muting
from worker.operations.failures import Group
from worker.operations.muting import Mute

_GROUP: Final = "failures"
_USUAL: Final = "1d"
_TAKEN: Final = ("org", "code", "since", "until")


async def _failures(ask: Ask) -> Mapping[str, Any]:
    wanted = filter_of({"since": _USUAL, **ask.query}, ask.desk.now)
    since, until = wanted.since, wanted.until
    if since is None:
        raise bad("since: it is empty")
    if until is not None and until <= since:
        raise bad("until: it is not later than since: nothing can be found")
    found = await failures.failures(
        ask.desk.database, since, until, org=wanted.org, code=wanted.code, now=ask.desk.now
    )
    return {
        "items": [each._asdict() for each in found.groups], "kinds": found.kinds, "looked_at": found.looked,
        "nothing_looked_at_before": dict(found.cut), "since": since, "until": until,
    }  # fmt: skip


async def _mutes(ask: Ask) -> Mapping[str, Any]:
    return {"items": [each._asdict() for each in await muting.mutes(ask.desk.database)]}


async def _mute(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    assert isinstance(body, NewMute)  # noqa: S101 — the call's model
    until = read({"until": body.until}, "until", ahead)
    group = await group_of(desk, body.like)
    if until is None:
        raise bad("until: it is empty. Nothing was done.")
    muted = await muting.mute(desk.database, group, until=until, reason=body.reason, by=desk.who.signature)
    if muted is None:
        raise bad("until: it is past. Nothing was done.")
    return muted._asdict()


async def _unmute(ask: Ask) -> Mapping[str, Any]:
    desk = ask.desk
    try:
        group_id = UUID(ask.id)
    except ValueError:
        raise bad("id: this is no group's id, which has 32 hexadecimal digits. Nothing was done.") from None
    ended = await muting.unmute(desk.database, group_id, reason=ask.body.reason, by=desk.who.signature)
    if ended is None:
        raise conflict(f"The group {group_id} is not muted, or not any more. Nothing was done.")
    return ended._asdict()


_MUTE = of("Mute", Mute)

CALLS: Final = (
    Call(
        "/failures", Right.VIEW, "failures", _GROUP,
        "Group what has failed by code, reason, place and build; `mute`: this group is muted", _failures,
        listed(
            "Failures", of("FailureGroup", Group), kinds=int, looked_at=int,
            nothing_looked_at_before=dict[str, datetime], since=datetime, until=datetime | None,
        ),
        query=tuple(each for each in FILTERS if each.name in _TAKEN),
    ),
    Call(
        "/failures/mutes", Right.VIEW, "mutes", _GROUP, "List what is muted", _mutes,
        listed("Mutes", _MUTE),
    ),
    Call(
        "/failures/mutes", Right.OPERATE, "mute", _GROUP,
        "Mute the group of a failed request for a time: it is shown apart", _mute, _MUTE, takes=NewMute,
    ),
    Call(
        "/failures/mutes/{id}/end", Right.OPERATE, "unmute", _GROUP, "End a mute, by the id of its group",
        _unmute, _MUTE, takes=Change,
    ),
)  # fmt: skip
