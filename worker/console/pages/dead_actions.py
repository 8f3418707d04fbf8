"""Acts on dead letters: replays, redirects, drops and restores what a filter means, after a look ahead."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from schemas.secret import is_secret_name, map_secrets
from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview, carried_out
from worker.console.context import Desk, desk_of
from worker.console.dead_filters import filter_of, frozen, query_of
from worker.console.forms import form_of, reason_of
from worker.console.freezing import refused_queue
from worker.console.problems import bad, conflict
from worker.console.reading import queue_name, rate_of, read, whole
from worker.console.render import counted, moment, page
from worker.errors import SealError
from worker.messages.mending import Do, Edit, edit_from
from worker.messages.sealing import parse_seal_keys
from worker.operations import dead_letters
from worker.operations.dead_letters import Filter, Group, State
from worker.operations.replaying import LEFT, Judged, Replaying
from worker.rabbitmq.topology import names_for
from worker.steps.limits import limits_of

LOOKED_AT = 100  # dead letters, in one look ahead
_MOST_GROUPS = 10
USUAL_RATE = 50.0
MOST_EDITS = 50
_DO: tuple[Do, ...] = ("set", "rename", "delete")


class Chosen(NamedTuple):
    """What an action is about."""

    which: Filter
    written: str  # the filter, frozen: what comes later does not match it
    groups: list[Group]
    number: int


async def ask_replay(request: Request) -> Response:
    """Look ahead what will become of each, after the edits that are given, and ask whether to send them."""
    desk = desk_of(request)
    query = request.query_params
    chosen = await _chosen(desk, query)
    edits = edits_of(query.get("edits", ""))
    begin = read(query, "from", whole(1_000_000)) or 0
    ids = await dead_letters.select(desk.database, chosen.which)
    judged = await look_ahead(
        replaying(desk, edits=[each.edit for each in edits]), ids[begin : begin + LOOKED_AT]
    )
    prospects = Counter(each.prospect for each in judged)
    return page(
        request,
        "dead_replay.html",
        chosen=chosen,
        told=told(chosen),
        edits=query.get("edits", ""),
        judged=judged,
        prospects=prospects.most_common(),
        begin=begin,
        looked_at=LOOKED_AT,
        usual=f"{USUAL_RATE:g}",
        going=sum(number for prospect, number in prospects.items() if prospect not in LEFT),
        more=query_of(query, edits=query.get("edits"), **{"from": begin + LOOKED_AT})
        if begin + LOOKED_AT < len(ids)
        else None,
    )


async def replay(request: Request) -> Response:
    """Begin to send them again: what would only fail stays in custody."""
    form = await form_of(request)
    edits = [(each.edit.do, each.text) for each in edits_of(form.get("edits", ""))]
    reason = reason_of(form)
    return await carried_out(desk_of(request), lambda: _send(request, form, reason, to=None, edits=edits))


async def _preview_redirect(request: Request) -> Preview:
    return await _preview(
        request, "Redirect", "redirect … --to QUEUE",
        "They go as they are, without the notes about their death, and count as replayed then. What no queue "
        "takes stays in custody.",
        fields=[
            Field("to", "To the queue", required=True),
            Field("rate", "At most so many in a second", "number", f"{USUAL_RATE:g}"),
        ],
    )  # fmt: skip


async def _redirect(asked: Asked) -> str:
    to = read(asked.form, "to", queue_name)
    if to is None:
        raise bad("to: say which queue. Nothing was done.")
    return await _send(asked.request, asked.form, asked.reason, to=to, edits=[])


async def _preview_drop(request: Request) -> Preview:
    warning = "They are kept for 7 days more, and can be restored until then."
    return await _preview(request, "Drop", "drop … --because …", warning)


async def _drop(asked: Asked) -> str:
    which, ids = await _selected(asked.desk, asked.form, "kept")
    await dead_letters.drop(
        asked.desk.database, ids, reason=asked.reason, by=asked.desk.who.signature,
        about={"dead_letters": which.told},
    )  # fmt: skip
    return str(asked.request.app.url_path_for("dead"))


async def _preview_restore(request: Request) -> Preview:
    return await _preview(request, "Restore", "restore …", "They are in custody again then.", state="dropped")


async def _restore(asked: Asked) -> str:
    which, ids = await _selected(asked.desk, asked.form, "dropped")
    restored = await dead_letters.restore(
        asked.desk.database, ids, reason=asked.reason, by=asked.desk.who.signature,
        about={"dead_letters": which.told},
    )  # fmt: skip
    if not restored:
        raise conflict("None of them can be restored: 7 days are over, or somebody else was quicker.")
    return str(asked.request.app.url_path_for("dead"))


REDIRECT = Action("redirect", "Redirect", Right.OPERATE, _preview_redirect, _redirect)
DROP = Action("drop", "Drop", Right.OPERATE, _preview_drop, _drop)
RESTORE = Action("restore", "Restore", Right.OPERATE, _preview_restore, _restore)


class GivenEdit(NamedTuple):
    """An edit as it was typed."""

    edit: Edit
    text: str  # after `set`, `rename` or `delete`


def edits_of(text: str) -> list[GivenEdit]:
    """Read edits, one a line: `set org_id=org-7`, `rename id=request_id`, `delete payload.x`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_EDITS:
        raise bad(f"edits: there are {len(lines)} of them, and may be {MOST_EDITS}")
    return [_edit(line) for line in lines]


def _edit(line: str) -> GivenEdit:
    verb, _, rest = line.partition(" ")
    for do in _DO:
        if verb == do:
            try:
                edit = edit_from(do, rest.strip())
            except ValueError as error:
                raise bad(f"edits: {line[:200]!r} {error}") from None
            if do == "set" and _is_secret(edit):
                raise bad(
                    "edits: a credential is not set here, where it would be kept in clear: use "
                    "`session-worker dead replay --set`"
                )
            return GivenEdit(edit, rest.strip())
    raise bad(f"edits: {line[:200]!r} does not begin with one of {', '.join(_DO)}")


def _is_secret(edit: Edit) -> bool:
    if any(is_secret_name(name) for name in edit.path):
        return True
    return map_secrets({"": edit.value}, lambda _path, _value: None) != {"": edit.value}


def replaying(
    desk: Desk, *, edits: Sequence[Edit] = (), bodies: dict[UUID, bytes] | None = None
) -> Replaying:
    """Make what judges dead letters, and sends them."""
    settings = desk.settings
    return Replaying(
        desk.database, parse_seal_keys(settings.seal_keys.get_secret_value()), names_for(settings.prefix),
        limits_of(settings), edits=edits, bodies=bodies, sender=settings.sender,
    )  # fmt: skip


async def look_ahead(how: Replaying, ids: Sequence[UUID]) -> list[Judged]:
    """Judge some; a key that is missing here is a problem."""
    try:
        return [one async for some in how.judged(ids) for one in some]
    except SealError as error:
        raise conflict(f"They cannot be opened here: {error}. Nothing was done.") from None


async def _send(
    request: Request, form: Mapping[str, str], reason: str, *, to: str | None, edits: list[tuple[Do, str]]
) -> str:
    """Begin to send them, and return the path of the page that shows how far it is."""
    desk = desk_of(request)
    rate = rate_of(form, USUAL_RATE)
    which, ids = await _selected(desk, form, "kept")
    work = await send(desk, which, ids, to=to, edits=edits, rate=rate, reason=reason)
    return str(request.app.url_path_for("work", id=work))


async def send(
    desk: Desk,
    which: Filter,
    ids: Sequence[UUID],
    *,
    to: str | None,
    edits: Sequence[tuple[Do, str]],
    rate: float,
    reason: str,
) -> str:
    """Begin to send these, and return the id of the work that does."""
    if to is not None:
        with refused_queue():
            limits_of(desk.settings).replies._replace(pattern=None).require(to)
    return await desk.long_works.begin(
        desk.database, "dead.replay",
        options={"to": to, "edits": edits, "rate": rate, "chosen_by": which.told}, chosen=ids,
        who=desk.who.signature, reason=reason,
    )  # fmt: skip


async def _chosen(desk: Desk, query: QueryParams, state: State = "kept") -> Chosen:
    which = await filter_of(desk, query, state=state)
    groups = await dead_letters.groups(desk.database, which, "reason")
    number = sum(group.messages for group in groups)
    return Chosen(which, frozen(query, which, groups), groups, number)


async def _selected(desk: Desk, form: Mapping[str, str], state: State) -> tuple[Filter, list[UUID]]:
    """Freeze what the form is about."""
    return await select(desk, QueryParams(form.get("which", "")), state)


async def select(desk: Desk, query: QueryParams, state: State) -> tuple[Filter, list[UUID]]:
    """Freeze what these fields are about; raise a 409 where that is nothing."""
    which = await filter_of(desk, query, state=state)
    ids = await dead_letters.select(desk.database, which)
    if not ids:
        raise conflict(f"No message that is {state} matches any more: somebody else was quicker.")
    return which, ids


async def _preview(
    request: Request,
    verb: str,
    command: str,
    warning: str,
    *,
    state: State = "kept",
    fields: Sequence[Field] = (),
) -> Preview:
    chosen = await _chosen(desk_of(request), request.query_params, state)
    return Preview(
        title=f"{verb} {counted(chosen.number, 'dead letter')}",
        lines=[*told(chosen), warning],
        fields=[Field("which", "", "hidden", chosen.written), *fields],
        nothing=None if chosen.number else f"No message that is {state} matches.",
        back=str(request.app.url_path_for("dead")),
        command=f"session-worker dead {command}",
    )


def told(chosen: Chosen) -> list[str]:
    """Say what is chosen: how old, and of which groups."""
    if not chosen.groups:
        return []
    said = [f"the oldest is of {moment(min(group.first_at for group in chosen.groups))}"]
    said += [f"{group.messages:,}: {group.name}" for group in chosen.groups[:_MOST_GROUPS]]
    if len(chosen.groups) > _MOST_GROUPS:
        said.append(f"and {len(chosen.groups) - _MOST_GROUPS} groups more")
    return said
