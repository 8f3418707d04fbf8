"""Retires a key: once nothing needs it, no worker may seal with it again."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from worker.errors import WorkerError
from worker.operations.keys import KeysOfWorker, Place, SealedRows, keys_of_workers, rows_by_key
from worker.operations.ownership import require_owner
from worker.postgres.database import Database


class Retired(NamedTuple):
    """A key that seals no more."""

    key: str
    at: datetime
    who: str
    reason: str


class Retirement(NamedTuple):
    """What came of it."""

    before: bool  # it was retired before
    given_up: int  # requests of which a repeat is not known any more
    workers: tuple[str, ...]  # that still have it, and need it no more


class KeyInUse(WorkerError):
    """The key cannot be retired yet."""

    def __init__(self, key: str, rows: Sequence[SealedRows] = (), sealing: Sequence[str] = ()) -> None:
        super().__init__(f"{key} is still needed")
        self.key = key
        self.rows = rows  # that need it
        self.sealing = sealing  # live workers that seal with it


async def retired(database: Database) -> list[Retired]:
    """List the keys that seal no more, the latest first."""
    return [Retired(*row) for row in await database.call("retired_keys", aside=True)]


async def retire(
    database: Database,
    key: str,
    *,
    lease_seconds: float,
    who: str,
    reason: str,
    give_up_repeats: bool,
    report: Callable[[Place, int], None],
) -> Retirement:
    """Retire a key, with its row of the audit; raise KeyInUse while anything needs it, and NotOwner. All rows
    are read for it; no worker seals with the key, neither before nor after, so none is added meanwhile.
    """
    await require_owner(database, "retire a key")
    _refuse(key, await keys_of_workers(database, lease_seconds))
    rows = [each for each in await rows_by_key(database, report=report) if each.key == key]
    needed = [each for each in rows if each.place != "repeats" or not give_up_repeats]
    if needed:
        raise KeyInUse(key, rows=needed)
    workers = await keys_of_workers(database, lease_seconds)
    _refuse(key, workers)
    given_up = sum(each.rows for each in rows)
    about = json.dumps({"key": key, "repeats_given_up": given_up})
    done = await database.call("retire_key", key, who, reason, about, aside=True)
    return Retirement(
        before=not done, given_up=given_up,
        workers=tuple(each.worker for each in workers if key in each.keys),
    )  # fmt: skip


def _refuse(key: str, workers: Sequence[KeysOfWorker]) -> None:
    if sealing := [each.worker for each in workers if each.keys[:1] == (key,)]:
        raise KeyInUse(key, sealing=sealing)
