"""Shows which rows need which key and who has it, and seals anew what an old key has sealed."""

from datetime import datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.acting import Action, Asked, Field, Preview
from worker.console.context import Desk, desk_of
from worker.console.pages.works import in_words
from worker.console.problems import bad, conflict
from worker.console.reading import plain, rate_of, read
from worker.console.render import page
from worker.errors import NotOwner
from worker.messages.sealing import parse_seal_keys
from worker.operations import keys as seal_keys
from worker.operations import retiring, works
from worker.operations.keys import KeysOfWorker, Lacking, Place, SealedRows, lacking
from worker.operations.ownership import is_owner
from worker.operations.resealing import cannot_open, still_seal
from worker.operations.retiring import Retired
from worker.operations.works import Work

USUAL_RATE = 500.0
_FRESH_SECONDS = 10.0
MOST_UNFINISHED = 5_000  # that are counted each way that leads to them
_WHAT = "seal stored secrets anew"
_NAMES: dict[Place, str] = {
    "unfinished": "unfinished requests",
    "finished": "finished requests",
    "sessions": "sessions",
    "custody": "dead letters",
    "repeats": "repeats of requests",
}


class Shown(NamedTuple):
    """A key, and what needs it."""

    key: str
    needs: str  # '' if nothing does
    rows: int
    oldest: datetime | None
    here: str
    workers: int  # that have it


class Found(NamedTuple):
    """Which rows need which key, who has it, the last whole count, and the keys that seal no more."""

    rows: list[SealedRows]
    here: tuple[str, ...]  # keys of this console
    workers: list[KeysOfWorker]
    retired: list[Retired]
    counted: Work | None


async def keys(request: Request) -> Response:
    """Show what is quick to count, and what the last whole count has found."""
    desk = desk_of(request)
    rows, here, workers, retired, counted = await look(desk)
    rotations = await works.works(desk.database, ["keys.rotate"])
    missing = [each for each in lacking(rows, here, workers) if each.place != "repeats"]
    return page(
        request, "keys.html", most=MOST_UNFINISHED, keys=_shown(rows, here, workers), workers=workers,
        retired=retired, missing=[_lack(each) for each in missing],
        counted=in_words(counted) if counted else None, works=[in_words(each) for each in rotations],
    )  # fmt: skip


async def look(desk: Desk) -> Found:
    """Count what is quick to count, and add what the last whole count has found."""
    here = parse_seal_keys(desk.settings.seal_keys.get_secret_value()).names
    workers = await seal_keys.keys_of_workers(desk.database, desk.settings.lease_seconds)
    rows = await desk.shared("keys", _FRESH_SECONDS, lambda: _quickly(desk))
    counts = await works.works(desk.database, ["keys.count"], most=1)
    counted = counts[0] if counts else None
    if counted is not None and "rows" in counted.progress:
        found = [seal_keys.from_json(row) for row in counted.progress["rows"]]
        rows = [*rows, *(each for each in found if each.place not in seal_keys.QUICK)]
    return Found(rows, here, workers, await retiring.retired(desk.database), counted)


async def _quickly(desk: Desk) -> list[SealedRows]:
    return await seal_keys.rows_by_key(desk.database, seal_keys.QUICK, most_unfinished=MOST_UNFINISHED)


def _shown(rows: list[SealedRows], here: tuple[str, ...], workers: list[KeysOfWorker]) -> list[Shown]:
    """Make the rows of the table, with the keys that nothing needs."""
    used = {each.key for each in rows}
    known = [*here, *(key for worker in workers for key in worker.keys)]
    unused = [SealedRows(key, "unfinished", 0) for key in dict.fromkeys(known) if key not in used]
    return [
        Shown(
            each.key,
            _NAMES[each.place] if each.rows else "",
            each.rows,
            each.oldest,
            "missing" if each.key not in here else "seals" if each.key == here[0] else "opens",
            sum(each.key in worker.keys for worker in workers),
        )
        for each in sorted([*rows, *unused])
    ]


def _lack(one: Lacking) -> str:
    who = [*(["this console"] if one.here else []), *one.workers[:5]]
    return f"{one.key} is missing: {one.rows:,} {_NAMES[one.place]} need it; not set in {', '.join(who)}"


async def _preview_count(request: Request) -> Preview:
    return Preview(
        title="Count all rows by key",
        lines=[
            "No index says which key a row needs: all requests and sessions are read, some at a time.",
            "That takes minutes where there are ten millions. It holds nobody up.",
        ],
        back=str(request.app.url_path_for("keys")),
        command="session-worker keys report",
    )


async def _count(asked: Asked) -> str:
    work = await count(asked.desk, asked.reason)
    return str(asked.request.app.url_path_for("work", id=work))


async def _preview_rotate(request: Request) -> Preview:
    desk = desk_of(request)
    names = parse_seal_keys(desk.settings.seal_keys.get_secret_value()).names
    old, new = read(request.query_params, "from", plain) or "", next(iter(names), "")
    owner, role = await is_owner(desk.database)
    workers = await seal_keys.keys_of_workers(desk.database, desk.settings.lease_seconds)
    nothing = None if owner else f"{NotOwner(role, _WHAT)}."
    if owner and old:
        nothing = _hindrance(old, new, names, workers) or None
    said = [f"keys of this console: {', '.join(names) or 'none'}"]
    if still := still_seal(workers, old):
        said.append(f"{', '.join(still)} still seal with {old}: put the new key in front there first.")
    said.append("What the old key has sealed is sealed with the new one, and nothing else changes.")
    return Preview(
        title="Seal anew",
        lines=said,
        fields=[
            Field("from", "From the key", value=old, required=True),
            Field("to", "To the key", value=new, required=True),
            Field("rate", "At most so many rows in a second", "number", f"{USUAL_RATE:g}"),
        ],
        nothing=nothing,
        back=str(request.app.url_path_for("keys")),
        command=f"session-worker keys rotate --from {old or 'KEY'} --reason …",
    )


async def _rotate(asked: Asked) -> str:
    desk, form = asked.desk, asked.form
    old, new, rate = read(form, "from", plain), read(form, "to", plain), rate_of(form, USUAL_RATE)
    if old is None or new is None:
        raise bad("from, to: say both keys. Nothing was done.")
    work = await rotate(desk, old, new, rate=rate, reason=asked.reason)
    return str(asked.request.app.url_path_for("work", id=work))


async def count(desk: Desk, reason: str) -> str:
    """Begin to count all, and return the id of the work."""
    return await desk.long_works.begin(
        desk.database, "keys.count", options={}, who=desk.who.signature, reason=reason
    )


COUNT = Action("count", "Count", Right.OPERATE, _preview_count, _count)
ROTATE = Action("rotate", "Seal anew", Right.ADMIN, _preview_rotate, _rotate)


async def rotate(desk: Desk, old: str, new: str, *, rate: float, reason: str) -> str:
    """Begin to seal anew, and return the id of the work; raise a 409 where that cannot be done."""
    await _refuse(desk, old, new)
    return await desk.long_works.begin(
        desk.database, "keys.rotate", options={"old": old, "new": new, "rate": rate}, who=desk.who.signature,
        reason=reason,
    )  # fmt: skip


async def _refuse(desk: Desk, old: str, new: str) -> None:
    owner, role = await is_owner(desk.database)
    if not owner:
        raise conflict(f"{NotOwner(role, _WHAT)}. Nothing was done.")
    names = parse_seal_keys(desk.settings.seal_keys.get_secret_value()).names
    workers = await seal_keys.keys_of_workers(desk.database, desk.settings.lease_seconds)
    if hindrance := _hindrance(old, new, names, workers):
        raise conflict(f"{hindrance} Nothing was done.")


def _hindrance(old: str, new: str, here: tuple[str, ...], workers: list[KeysOfWorker]) -> str:
    for key in (old, new):
        if key not in here:
            return f"The key {key} is not in the WORKER_SEAL_KEYS of this console."
    if old == new:
        return f"{old} is both keys: put the new one in front, or name it."
    if lack := cannot_open(workers, new):
        return f"{new} is not in the WORKER_SEAL_KEYS of {', '.join(lack)}: roll it out first."
    return ""
