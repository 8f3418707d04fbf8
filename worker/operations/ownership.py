"""Asks whether the role owns the tables: some of what operators do is kept from a worker's role."""

from worker.errors import NotOwner
from worker.postgres.database import Database


async def is_owner(database: Database) -> tuple[bool, str]:
    """Tell whether the role owns the tables, and its name."""
    ((role, owner),) = await database.call("ownership", aside=True)
    return owner, role


async def require_owner(database: Database, what: str) -> None:
    """Raise NotOwner unless the role owns the tables."""
    owner, role = await is_owner(database)
    if not owner:
        raise NotOwner(role, what)
