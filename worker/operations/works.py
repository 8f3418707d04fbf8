"""Keeps long works that operators have begun: how far each is, who stopped it, and what it takes to go on."""

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from worker.postgres.database import Database

Kind = Literal["dead.replay", "keys.count", "keys.rotate", "retention.run"]
KINDS: tuple[Kind, ...] = get_args(Kind)
State = Literal["running", "stopped", "failed", "done"]
SILENT_SECONDS = 15.0  # a process that was not seen for so long works on it no more
_LONGEST_TROUBLE = 500


class Work(NamedTuple):
    """A work, and how far it is."""

    id: str
    kind: Kind
    options: dict[str, Any]
    chosen: int  # dead letters that it is about
    who: str
    reason: str | None
    begun_at: datetime
    state: State
    ended_at: datetime | None
    trouble: str | None  # why it failed
    progress: dict[str, Any]
    alive: bool  # the process that does it was seen lately

    @property
    def may_go_on(self) -> bool:
        """Tell whether nobody does it, though something is left to do."""
        return self.state in ("stopped", "failed") or (self.state == "running" and not self.alive)


async def works(
    database: Database, kinds: Sequence[Kind] | None = None, *, work_id: str | None = None, most: int = 10
) -> list[Work]:
    """List the newest works of these kinds, or one."""
    given = None if kinds is None else list(kinds)
    rows = await database.call("works", work_id, given, SILENT_SECONDS, most, aside=True)
    return [
        Work(**{**row, "options": json.loads(row["options"]), "progress": json.loads(row["progress"])})
        for row in rows
    ]


async def chosen(database: Database, work_id: str) -> list[UUID]:
    """Return the dead letters that a work is about."""
    ((ids,),) = await database.call("chosen_for_work", work_id, aside=True)
    return list(ids)


async def begin(
    database: Database,
    kind: Kind,
    runner: UUID,
    *,
    options: Mapping[str, Any],
    chosen: Sequence[UUID] = (),
    who: str,
    reason: str | None,
) -> str:
    """Note a work that this runner begins, and return its id."""
    work_id = secrets.token_hex(4)
    await database.call(
        "begin_work", work_id, kind, json.dumps(options), list(chosen), who, reason, runner, aside=True
    )
    return work_id


async def go_on(database: Database, work_id: str, runner: UUID, *, who: str, reason: str | None) -> bool:
    """Give a work to this runner; False: somebody does it, or nothing is left to do."""
    return bool(
        await database.call("go_on_with_work", work_id, runner, who, reason, SILENT_SECONDS, aside=True)
    )


async def note(database: Database, work_id: str, runner: UUID, progress: Mapping[str, Any]) -> bool:
    """Note how far it is; False: it is not this runner's any more."""
    return bool(await database.call("note_work", work_id, runner, json.dumps(progress), aside=True))


async def end(
    database: Database,
    work_id: str,
    runner: UUID,
    state: State,
    progress: Mapping[str, Any],
    trouble: str | None = None,
) -> None:
    """Note how it ended, unless it is not this runner's any more."""
    told = trouble and trouble[:_LONGEST_TROUBLE]
    await database.call("end_work", work_id, runner, state, told, json.dumps(progress), aside=True)


async def stop(database: Database, work_id: str, *, by: str, reason: str | None) -> bool:
    """Stop a work, wherever it is done; False: nobody does it."""
    return bool(await database.call("stop_work", work_id, by, reason, aside=True))
