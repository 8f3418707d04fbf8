"""Reads from an address which dead letters are meant, with the names of the command line."""

from collections.abc import Sequence
from datetime import timedelta
from typing import get_args
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import QueryParams

from worker.console.context import Desk
from worker.console.problems import bad, not_found
from worker.console.reading import ago, one_of, plain, read, uuid
from worker.operations import dead_letters
from worker.operations.dead_letters import Filter, Group, Grouping, State
from worker.operations.filters import moment_or_time_ago

MOST_IDS = 500
_NAMES = ("id", "state", "app", "no_app", "user", "reason", "like", "since", "until")
_STATES: tuple[State, ...] = get_args(State)


async def filter_of(desk: Desk, query: QueryParams, *, state: State | None = None) -> Filter:
    """Read the filter. `id` may be there several times; `no_app=1`: those that name no application; `like`:
    the id of one in the same group. `state`: the one that an action is for.
    """
    ids = tuple(uuid_of(text) for text in query.getlist("id") if text)
    if query.get("marked") and not ids:
        raise bad("Nothing is marked: mark some messages first.")
    if len(ids) > MOST_IDS:
        raise bad(f"id: is there {len(ids)} times, and may be {MOST_IDS} times: use a filter")
    return Filter(
        state=state or read(query, "state", one_of(_STATES)) or "kept",
        ids=ids or None,
        app="" if read(query, "no_app", one_of(("1",))) else read(query, "app", plain),
        user=read(query, "user", plain),
        kind=await _kind(desk, read(query, "like", uuid)),
        part=read(query, "reason", plain),
        since=read(query, "since", ago(desk.now)),
        until=read(query, "until", ago(desk.now)),
    )


def query_of(query: QueryParams, **more: object) -> str:
    """Write the filter of an address again, with further fields, which count before those that are there."""
    kept = [
        (name, value) for name, value in query.multi_items() if name in _NAMES and name not in more and value
    ]
    return urlencode([*kept, *((name, str(value)) for name, value in more.items() if value is not None)])


def frozen(query: QueryParams, which: Filter, groups: Sequence[Group]) -> str:
    """Write the filter so that what comes later does not match it: the newest that it finds now says when
    that is, whatever the clock here says.
    """
    if which.ids is not None or not groups:
        return query_of(query)
    until = max(group.last_at for group in groups) + timedelta(microseconds=1)
    since = None if which.since is None else which.since.isoformat()
    return query_of(query, since=since, until=until.isoformat())


def in_group(query: QueryParams, grouping: Grouping, group: Group) -> str:
    """Write the filter of what is in a group of those that the address means."""
    match grouping:
        case "reason":
            return query_of(query, like=group.example)
        case "app":
            return query_of(query, **({"app": group.name} if group.name else {"no_app": 1}))
        case "field":
            return query_of(query, reason=f"not valid: {group.name}" if group.name else None)
        case "hour":
            begin = moment_or_time_ago(group.name.replace(" ", "T"))
            return query_of(query, since=begin.isoformat(), until=(begin + timedelta(hours=1)).isoformat())


def uuid_of(text: str) -> UUID:
    try:
        return uuid(text)
    except ValueError as error:
        raise bad(f"id: {text[:200]!r} {error}") from None


async def _kind(desk: Desk, like: UUID | None) -> str | None:
    """Find the group that one of it is in, whatever became of that."""
    if like is None:
        return None
    for state in _STATES:
        found = await dead_letters.page(desk.database, Filter(state=state, ids=(like,)), 1)
        if found.letters:
            return found.letters[0].kind
    raise not_found(f"like: {like} is not in custody any more.")
