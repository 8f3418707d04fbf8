"""Freezes which requests an operator means, and keeps what came of each: it goes on after a crash."""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from schemas.wire import DIRECT_REPLY
from worker.errors import WorkerError
from worker.operations import listing
from worker.operations.filters import MOST_LISTED, Filter, Page
from worker.postgres.database import Database

Action = Literal["retry", "resend", "cancel"]
State = Literal["prepared", "running", "stopped", "done"]
MOST_CHOSEN = 100_000  # in one selection
SILENT_SECONDS = 15.0  # a process that was not seen for so long works on its selection no more
FORGOTTEN_SECONDS = 86_400.0
_LISTED = 50
_ADDED_AT_ONCE = 5_000


class TooManyChosen(WorkerError):
    """More requests match than one selection may hold."""

    def __init__(self) -> None:
        super().__init__(
            f"more than {MOST_CHOSEN:,} requests match, and nothing was done: narrow the filter, with "
            "--since and --until, and do one part after the other"
        )


class Selection(NamedTuple):
    """Requests that an operator chose at one time, and how far the work on them is."""

    id: str
    action: Action
    chosen_by: dict[str, Any]  # the filter, or the ids
    options: dict[str, Any]
    who: str
    reason: str | None
    rate: float
    made_at: datetime
    state: State
    ended_at: datetime | None
    chosen: int
    done: int
    skipped: int
    failed: int
    alive: bool  # the process that works on it was seen lately

    @property
    def left(self) -> int:
        return self.chosen - self.done - self.skipped - self.failed


class Preview(NamedTuple):
    """What is in a selection: a look before anything is done."""

    requests: int
    oldest: datetime | None
    with_secrets: int
    failed: int
    completed: int
    retried: int  # before, by another selection
    to_response_queue: int
    to_direct_replies: int
    reply_queues: int
    orgs: int
    first_orgs: list[str]  # those with the most of it


class Outcome(NamedTuple):
    """How many came to the same."""

    state: str
    outcome: str | None
    number: int


class Result(NamedTuple):
    """How many of the requests that were sent stand alike; without a status, they were not accepted yet."""

    status: str | None
    code: str | None
    number: int


async def matching(database: Database, wanted: Filter) -> AsyncGenerator[list[UUID], None]:
    """Find all requests that match, some at a time, the last ones first: none that arrives meanwhile."""
    after = None
    while True:
        found = await listing.matching(database, wanted, Page(limit=MOST_LISTED, after=after))
        yield found.ids
        after = found.more
        if after is None:
            return


async def freeze(
    database: Database,
    action: Action,
    chosen: AsyncIterable[Sequence[UUID]],
    *,
    chosen_by: Mapping[str, Any],
    options: Mapping[str, Any],
    who: str,
    reason: str | None,
    rate: float,
    selection_id: str | None = None,
) -> Selection:
    """Make a selection of what is chosen now; the same id is the same one. Nothing is done with it yet."""
    selection_id = selection_id or secrets.token_hex(4)
    await database.call(
        "make_selection", selection_id, action, json.dumps(chosen_by, default=str), json.dumps(options), who,
        reason, rate, aside=True,
    )  # fmt: skip
    try:
        async for part in chosen:
            await _add(database, selection_id, part)
    except BaseException:
        with suppress(Exception):  # a part of what was meant is not to be worked on
            await drop(database, selection_id)
        raise
    return (await selections(database, selection_id))[0]


async def _add(database: Database, selection_id: str, part: Sequence[UUID]) -> None:
    for start in range(0, len(part), _ADDED_AT_ONCE):
        added = part[start : start + _ADDED_AT_ONCE]
        rows = await database.call("add_to_selection", selection_id, added, aside=True)
        if rows[0]["chosen"] > MOST_CHOSEN:
            raise TooManyChosen


async def preview(database: Database, selection_id: str) -> Preview:
    """Look what is in a selection."""
    return Preview(**(await database.call("preview", selection_id, [], DIRECT_REPLY, aside=True))[0])


async def preview_of(database: Database, ids: Sequence[UUID]) -> Preview:
    """Look what a selection of these would hold, before there is one."""
    return Preview(**(await database.call("preview", None, ids, DIRECT_REPLY, aside=True))[0])


async def drop(database: Database, selection_id: str) -> None:
    """Forget a selection that nothing was done with."""
    await database.call("drop_selection", selection_id, aside=True)


async def drop_forgotten(database: Database) -> None:
    """Forget those that were only looked at, a day ago or longer."""
    await database.call("drop_forgotten_selections", FORGOTTEN_SECONDS, aside=True)


async def selections(database: Database, selection_id: str | None = None) -> list[Selection]:
    """List the newest selections, or only this one."""
    rows = await database.call("selections", selection_id, SILENT_SECONDS, _LISTED, aside=True)
    return [
        Selection(**{**row, "chosen_by": json.loads(row["chosen_by"]), "options": json.loads(row["options"])})
        for row in rows
    ]


async def stop(database: Database, selection_id: str, *, by: str, reason: str | None) -> bool:
    """Stop the work on a selection, wherever that is done; False: nobody works on it."""
    return bool(await database.call("stop_selection", selection_id, by, reason, aside=True))


async def outcomes(database: Database, selection_id: str, most: int = 20) -> list[Outcome]:
    """Tell what came of its requests: how many were sent, and why others were not."""
    rows = await database.call("outcomes_of_selection", selection_id, most, aside=True)
    return [Outcome(**row) for row in rows]


async def results(database: Database, selection_id: str) -> list[Result]:
    """Tell how the requests stand that were cancelled, or sent anew, by now."""
    return [Result(**row) for row in await database.call("results_of_selection", selection_id, aside=True)]
