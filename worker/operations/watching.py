"""Watches the requests that a filter means: tells each change of one, as it happens."""

from typing import NamedTuple
from uuid import UUID

from worker.operations import listing
from worker.operations.filters import Filter, Page
from worker.operations.listing import Listed
from worker.postgres.database import Database

NEWEST = 1_000


class Change(NamedTuple):
    """A request that is new or has changed; `before`: where it stood, None if it is new."""

    before: str | None
    request: Listed


class Watch:
    """Compares the newest requests that match with what they were when it looked before."""

    def __init__(self, database: Database, wanted: Filter) -> None:
        self._database = database
        self._wanted = wanted
        self._seen: dict[UUID, tuple[str, str]] | None = None

    async def look(self) -> list[Change]:
        """Return what has changed since the last look, the oldest first; of the first one, nothing.

        A request counts while it is among the newest of those that match.
        """
        found = await listing.matching(self._database, self._wanted, Page(limit=NEWEST))
        requests = await listing.listed(self._database, found.ids)
        before, self._seen = self._seen, {each.request_id: _state(each) for each in requests}
        if before is None:
            return []
        return [
            Change(before[each.request_id][0] if each.request_id in before else None, each)
            for each in reversed(requests)
            if before.get(each.request_id) != _state(each)
        ]


def _state(request: Listed) -> tuple[str, str]:
    return request.status, f"{request.attempt} {request.response}"
