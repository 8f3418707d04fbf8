"""Keeps a worker from sealing with a key that was retired."""

from collections.abc import Sequence

from worker.errors import SettingsError
from worker.postgres.database import Database


async def refuse_retired(database: Database, names: Sequence[str]) -> None:
    """Raise SettingsError if the first of these keys, which seals, was retired."""
    if not names:
        return
    for row in await database.call("retired_keys"):
        if row["key"] == names[0]:
            raise SettingsError(
                f"WORKER_SEAL_KEYS: the first key, {names[0]}, was retired at "
                f"{row['retired_at']:%Y-%m-%d %H:%M}Z by {row['who']}: put another one in front of "
                "it, or leave it out"
            )
