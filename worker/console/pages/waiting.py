"""Shows what waits, and sets or clears what limits it."""

import shlex
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.problems import bad, conflict
from worker.console.reading import one_of, org_of, read
from worker.console.render import page
from worker.operations import lines, steering
from worker.operations.steering import LimitOnRecord
from worker.rules import NO_ORG, Scope, limit_of

SHOWN = 50
_FRESH_SECONDS = 2.0
_SCOPES: tuple[Scope, ...] = ("all", "each", "org")
_VALUES = ("rate", "burst", "running", "weight")


class Whose(NamedTuple):
    """For whom a limit is."""

    scope: Scope
    name: str  # of the organisation

    def __str__(self) -> str:
        return {"all": "all requests together", "each": "each organisation", "org": self.name}[self.scope]

    @property
    def words(self) -> str:
        """Return it as the command line has it."""
        return shlex.quote(self.name) if self.scope == "org" else f"--{self.scope}"


async def waiting(request: Request) -> Response:
    """Show what is due, what is held back and whose it is, and by which rules."""
    desk = desk_of(request)
    seconds = 0 if "done" in request.query_params else _FRESH_SECONDS  # who has changed something sees it
    found = await desk.shared(
        "lines", seconds, lambda: lines.look(desk.database, SHOWN, desk.settings.lease_seconds)
    )
    limits = await desk.shared("limits", seconds, lambda: steering.limits(desk.database))
    pauses = await steering.pauses(desk.database)
    return page(
        request, "waiting.html", refresh=5, waiting=found, most=lines.MOST_COUNTED, pauses=pauses,
        limits=[(each, Whose(each.limit.scope, each.limit.name), _query(each)) for each in limits],
    )  # fmt: skip


def _query(one: LimitOnRecord) -> str:
    return urlencode({"scope": one.limit.scope, **({"org": one.limit.name} if one.limit.name else {})})


async def _preview_limit(request: Request) -> Preview:
    desk, whose = desk_of(request), _whose(request.query_params)
    now = await _limit(desk, whose)
    said = [f"for {whose}"]
    said.append(f"now: {now.limit.values} ({now.source}, by {now.set_by})" if now else "now: no limit")
    if whose.scope == "org":
        said.append(f"{(await steering.waiting(desk.database, whose.name)).waiting:,} requests of it wait")
    said.append("What exceeds a limit waits; nothing fails of it. What is left empty stays as it is.")
    given = now.limit._asdict() if now else {}
    value = {each: "" if given.get(each) is None else f"{given[each]:.10g}" for each in _VALUES}
    fields = [
        Field("rate", "So many may begin in a second", value=value["rate"], hint="as 20 or 0.5"),
        Field(
            "burst", "So many at once after a while without", value=value["burst"], hint="goes with the rate"
        ),
        Field("running", "So many at a time, on all workers together", value=value["running"]),
    ]
    if whose.scope != "all":
        fields.append(
            Field(
                "weight", "Its share, beside others with theirs", value=value["weight"], hint="1 if not set"
            )
        )
    return Preview(
        title=f"Limit {whose}",
        lines=said,
        fields=fields,
        back=_here(request),
        command=f"session-worker limits set {whose.words} --rate 20/s",
    )


async def _set_limit(asked: Asked) -> str:
    whose, form = _whose(asked.request.query_params), asked.form
    given = {each: form[each].strip() for each in _VALUES if form.get(each, "").strip()}
    try:
        change = limit_of(whose.scope, whose.name, **given)
    except ValueError as error:
        raise bad(f"{error}. Nothing was done.") from None
    await steering.set_limit(asked.desk.database, change, reason=asked.reason, by=asked.desk.who.signature)
    return _here(asked.request)


async def _preview_clear(request: Request) -> Preview:
    whose = _whose(request.query_params)
    now = await _limit(desk_of(request), whose)
    nothing = None
    if now is None:
        nothing = f"{whose}: there is no limit."
    elif now.source == "setting":
        nothing = f"It is that of WORKER_LIMITS ({now.limit.values}), which is to be changed there."
    return Preview(
        title=f"Clear the limit of {whose}",
        lines=[f"now: {now.limit.values}, by {now.set_by}", "One that WORKER_LIMITS has counts again."]
        if now
        else [],
        nothing=nothing,
        back=_here(request),
        command=f"session-worker limits clear {whose.words}",
    )


async def _clear_limit(asked: Asked) -> str:
    whose, desk = _whose(asked.request.query_params), asked.desk
    cleared = await steering.clear_limit(
        desk.database, whose.scope, whose.name, by=desk.who.signature, reason=asked.reason
    )
    if cleared.removed is None:
        raise conflict(f"No command has set a limit for {whose} any more. Nothing was done.")
    return _here(asked.request)


LIMIT = Action("limit", "Set the limit", Right.OPERATE, _preview_limit, _set_limit)
CLEAR_LIMIT = Action("clear_limit", "Clear the limit", Right.OPERATE, _preview_clear, _clear_limit)


def _whose(fields: Mapping[str, str]) -> Whose:
    scope: Scope = read(fields, "scope", one_of(_SCOPES)) or "org"
    return Whose(scope, org_of(fields, "org") if scope == "org" else NO_ORG)


async def _limit(desk: Desk, whose: Whose) -> LimitOnRecord | None:
    """Find the limit that is in force."""
    found = await steering.limits(desk.database)
    its = (each for each in found if each.in_force and (each.limit.scope, each.limit.name) == whose)
    return next(its, None)


def _here(request: Request) -> str:
    return str(request.app.url_path_for("waiting"))
