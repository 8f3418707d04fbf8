"""What is done to requests: to one, to those that were marked, or to all that match.

All are frozen in a selection first. It begins at once if it holds what was seen; else it asks once more.
"""

import re
import secrets
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple
from uuid import UUID

from starlette.requests import Request

from worker.console.access import Right
from worker.console.acting import DEFAULT_RATE, Action, Asked, Field, Preview, rate_field, rate_of
from worker.console.addresses import Texts, options_of, query_string, typed
from worker.console.context import Desk, desk_of
from worker.console.filtering import filter_of
from worker.console.freezing import Meant, frozen
from worker.console.problems import bad
from worker.operations import counts, listing, overview, selections
from worker.operations.filters import Filter, Page
from worker.operations.selection_words import would_be
from worker.operations.selections import Action as Does

MOST_MARKED = 100  # an address is not longer
_LOOKED_AHEAD = 1_000  # requests, in the preview of all that match: soon done, also where nothing is cached
_KEY = re.compile(r"[0-9a-f]{8}")
_LONGEST_QUEUE = 255  # bytes, as the protocol has it


class Chosen(NamedTuple):
    """The requests that an address means: those with these ids, or all that match."""

    ids: list[UUID]
    wanted: Filter
    texts: Texts


async def _preview(does: Does, request: Request) -> Preview:
    desk, chosen = desk_of(request), _chosen(request)
    ids, cut = chosen.ids, False
    if not ids:
        found = await listing.matching(desk.database, chosen.wanted, Page(limit=1), at_least=_LOOKED_AHEAD)
        ids, cut = found.ids, found.cut or found.matching > len(found.ids)
    there = await selections.preview_of(desk.database, ids)
    first, *rest = would_be(does, {}, DEFAULT_RATE, there)
    lines = [f"{'at least ' if cut else ''}{first}", *rest, await _load(desk)]
    if cut:
        lines.append(
            "there may be more than were looked at: all are counted next, and you are asked once more"
        )
    nothing = "No request matches: there is nothing to do." if not there.requests and not cut else None
    return Preview(
        title=f"{does.capitalize()} {_meant(chosen)}",
        lines=lines,
        fields=_fields(does, "" if cut else str(there.requests)),
        nothing=nothing,
        danger=does == "cancel",
        back=_back(request, chosen),
        command=f"session-worker requests {does}{_as_options(chosen)}{_BECAUSE[does]}",
    )


_BECAUSE = {"retry": "", "resend": "", "cancel": ' --because "…"'}


async def _carry_out(does: Does, asked: Asked) -> str:
    desk, form = asked.desk, asked.form
    key, chosen, options = _key(form), _chosen(asked.request), _options(does, form)
    where = str(asked.request.app.url_path_for("selection", id=key))
    if await selections.selections(desk.database, key):
        return where  # the same form, sent twice
    selection = await frozen(
        desk, does, Meant(chosen.ids, chosen.wanted), options=options, rate=rate_of(form),
        reason=asked.reason, key=key,
    )  # fmt: skip
    if chosen.ids or form.get("seen") == str(selection.chosen):
        await desk.works.begin(selection, by=desk.who.signature, reason=asked.reason)
    return where


def _chosen(request: Request) -> Chosen:
    """Read who is meant: the marked ones of a page, or all that match its filter. A link has either alone."""
    query = request.query_params
    which = query.getlist("which")
    ids = [] if "all" in which else list(dict.fromkeys(_id(text) for text in query.getlist("id")))
    texts = typed(query, "id", "which")
    if len(ids) > MOST_MARKED:
        raise bad(f"More than {MOST_MARKED} requests are marked: use a filter.")
    if not ids and (not texts or which == ["marked"]):
        raise bad("Say which requests are meant: mark some, or give a filter for all that match.")
    return Chosen(ids, Filter() if ids else filter_of(texts, desk_of(request).now), {} if ids else texts)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise bad(f"id: {text[:100]!r} is no request's id") from None


def _meant(chosen: Chosen) -> str:
    if chosen.ids:
        return f"request {chosen.ids[0]}" if len(chosen.ids) == 1 else f"{len(chosen.ids)} marked requests"
    return f"all that match: {', '.join(f'{name} = {text[:60]}' for name, text in chosen.texts.items())}"


def _back(request: Request, chosen: Chosen) -> str:
    url = request.app.url_path_for
    if len(chosen.ids) == 1:
        return str(url("request", id=str(chosen.ids[0])))
    return f"{url('requests')}?{query_string(typed(request.query_params, 'id', 'which'))}"


def _as_options(chosen: Chosen) -> str:
    return "".join(f" {each}" for each in chosen.ids) or options_of(chosen.texts)


def _fields(does: Does, seen: str) -> list[Field]:
    fields = [
        Field("key", "", "hidden", secrets.token_hex(4)),
        Field("seen", "", "hidden", seen),
        rate_field(),
    ]
    if does != "cancel":
        fields.append(Field("to", "answers to this queue, not to the requester"))
    if does == "retry":
        fields.append(Field("silent", "tell no requester: answers go to the response queue", "checkbox"))
    return fields


def _key(form: Mapping[str, str]) -> str:
    key = form.get("key", "")
    if not _KEY.fullmatch(key):
        raise bad("The form is not one of this console. Nothing was done.")
    return key


def _options(does: Does, form: Mapping[str, str]) -> dict[str, str]:
    """Read where the answers go, as the options of the command have it."""
    to, silent = form.get("to", "").strip(), "silent" in form
    if does == "cancel":
        return {}
    if len(to.encode()) > _LONGEST_QUEUE or "\0" in to:
        raise bad("to: that is no name of a queue. Nothing was done.")
    if to and silent:
        raise bad("Answers go to a queue, or to no requester: not both. Nothing was done.")
    if silent and does == "retry":
        return {"answer": "none"}
    return {"to": to} if to else {}


async def _load(desk: Desk) -> str:
    """Say what is at work now, beside which this would be."""
    kept = await counts.kept(desk.database)
    unfinished = sum(each.number for each in kept if each.status in ("pending", "processing"))
    workers = [
        each for each in await overview.workers(desk.database, desk.settings.lease_seconds) if each.lives
    ]
    paused = sum(each.paused for each in workers)
    return f"now: {unfinished:,} unfinished on {len(workers)} live workers" + (
        f", {paused} of them paused" if paused else ""
    )


def _action(does: Does, label: str) -> Action:
    return Action(does, label, Right.OPERATE, partial(_preview, does), partial(_carry_out, does))


RETRY = _action("retry", "Retry")
RESEND = _action("resend", "Resend")
CANCEL = _action("cancel", "Cancel")
