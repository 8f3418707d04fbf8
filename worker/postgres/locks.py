"""Names the holder of the lock that a statement waits for."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from worker.postgres.installation import connected
from worker.postgres.sql import setup_query


class Holder(NamedTuple):
    """Who is at the head of the line that a backend waits in. What this role may not see is None."""

    waiting: int
    holder: int  # 0: a prepared transaction
    application_name: str | None
    role: str | None
    begun_at: datetime | None  # its transaction
    state: str | None
    statement: str | None
    waits_since: datetime | None
    relation: str | None


async def find_holders(connection: asyncpg.Connection, pids: Sequence[int]) -> list[Holder]:
    """Find who holds what these backends wait for, if they wait for a lock."""
    rows = await connection.fetch(setup_query("lock_holders"), list(pids))
    return [Holder(**row) for row in rows]


async def lock_holders(url: str, tls: ssl.SSLContext | None, pids: Sequence[int]) -> dict[int, str]:
    """Say what each of these backends waits for, if it waits for a lock. This asks on a connection of its
    own: those of the pool may all be waiting.
    """
    async with connected(url, tls) as connection:
        found = await find_holders(connection, pids)
    return {each.waiting: _in_words(each) for each in reversed(found)}


def _in_words(found: Holder) -> str:
    if not found.holder:
        who = "a prepared transaction"
    else:
        names = ", ".join(name for name in (found.application_name, found.role) if name)
        who = f"pid {found.holder}" + (f" ({names})" if names else "")
    what = f"waits for a lock on {found.relation}" if found.relation else "waits for a lock"
    if found.begun_at:
        return f"{what} that {who} holds in a transaction since {_time(found.begun_at)}"
    return f"{what} since {_time(found.waits_since or datetime.now(UTC))} that {who} holds"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
