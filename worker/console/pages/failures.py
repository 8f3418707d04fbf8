"""The page of failures: what has failed lately, in groups that are alike."""

from typing import Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from worker.console import charts
from worker.console.addresses import fields_of, query_string, typed
from worker.console.context import desk_of
from worker.console.filtering import filter_of
from worker.console.problems import bad
from worker.console.render import page
from worker.operations import failures as operation
from worker.operations import muting
from worker.operations.failures import Group
from worker.operations.filters import CODES

PERIODS: Final = ("15m", "1h", "6h", "1d", "7d")
_USUAL = "1d"
_TAKEN = ("org", "code", "since", "until")


async def failures(request: Request) -> Response:
    """Show the groups of what failed in a time."""
    desk = desk_of(request)
    texts = typed(request.query_params, "done")
    if other := [name for name in texts if name not in _TAKEN]:
        raise bad(f"{other[0]}: failures are found by {', '.join(_TAKEN)}, and requests by all filters")
    texts.setdefault("since", _USUAL)
    wanted = filter_of(texts, desk.now)
    since, until = wanted.since, wanted.until
    assert since is not None, "there is always one"  # noqa: S101 — set above
    if until is not None and until <= since:
        raise bad("until: it is not later than since: nothing can be found")
    found = await operation.failures(
        desk.database, since, until, org=wanted.org, code=wanted.code, now=desk.now
    )
    muted = {each.mute: each.number for each in found.groups if each.mute}
    return page(
        request, "failures.html",
        found=found, texts=texts, given=fields_of(texts), since=since, until=until, most=operation.LOOKED_AT,
        mutes=[(each, muted.get(each.id, 0)) for each in await muting.mutes(desk.database)],
        groups=[
            (group, query_string(texts, **_of(group)), _line(group))
            for group in found.groups
            if not group.mute
        ],
        link=lambda **changes: query_string(texts, **changes), periods=PERIODS, codes=CODES,
    )  # fmt: skip


def _line(group: Group) -> Markup:
    return charts.sparkline(group.parts, title=f"when these {group.number:,} came")


def _of(group: Group) -> dict[str, str | None]:
    """Return the filters that find the requests of a group; where it lacks something, they find more."""
    return {"code": group.code, "reason": group.reason, "build": group.build}
