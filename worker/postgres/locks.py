"""Names the holder of the lock that a statement waits for."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from worker.postgres.installation import connected
from worker.postgres.sql import setup_query


async def lock_holders(url: str, tls: ssl.SSLContext | None, pids: Sequence[int]) -> dict[int, str]:
    """Say what each of these backends waits for, if it waits for a lock. This asks on a connection of its
    own: those of the pool may all be waiting.
    """
    async with connected(url, tls) as connection:
        rows = await connection.fetch(setup_query("lock_holders"), list(pids))
    return {row["waiting"]: _in_words(row) for row in reversed(rows)}


def _in_words(row: asyncpg.Record) -> str:
    if not row["holder"]:
        who = "a prepared transaction"
    else:
        names = ", ".join(name for name in (row["application_name"], row["role"]) if name)
        who = f"pid {row['holder']}" + (f" ({names})" if names else "")
    what = f"waits for a lock on {row['relation']}" if row["relation"] else "waits for a lock"
    if row["begun_at"]:
        return f"{what} that {who} holds in a transaction since {_time(row['begun_at'])}"
    return f"{what} since {_time(row['waits_since'] or datetime.now(UTC))} that {who} holds"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
