"""Tells which responses are with nobody: by why that is, and by the queue that should have had them."""

from typing import NamedTuple
from uuid import UUID

from worker.postgres.database import Database

MOST_COUNTED = 20_000
_NEWEST = 5_000  # requests that are looked through for responses that wait no more
_RECENT_SECONDS = 86_400.0
_SETTLED_SECONDS = 60.0  # after which a response that is with nobody does not just go its normal way


class Undelivered(NamedTuple):
    """Responses that are with nobody for the same reason. Counted up to a bound."""

    state: str  # unroutable, refused or unpublishable; "not tried": it was never sent
    queue: str  # '' is the response queue
    number: int
    oldest_seconds: float | None  # since the first one was made; None: they wait for nothing
    example: UUID | None

    @property
    def waits(self) -> bool:
        """Tell whether they are sent again by themselves."""
        return self.oldest_seconds is not None


async def by_queue(database: Database) -> list[Undelivered]:
    """Group what waits to be sent again, and what does not: of that, what came within a day."""
    waiting = await database.call("long_unanswered", MOST_COUNTED, 0.0, aside=True)
    given_up = await database.call("given_up", _NEWEST, _RECENT_SECONDS, _SETTLED_SECONDS, aside=True)
    return [
        *(Undelivered(row["state"], row["queue"], row["number"], row["seconds"], None) for row in waiting),
        *(
            Undelivered(row["state"] or "not tried", row["queue"], row["number"], None, row["example"])
            for row in given_up
        ),
    ]
