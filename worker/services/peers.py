"""Looks at the other workers of the queue: do they live, and do they treat a request as this one does?"""

import json
from collections import defaultdict
from uuid import UUID

import structlog

from worker.monitoring.crowd import Crowd
from worker.monitoring.profile import Profile, differences
from worker.postgres.database import Database

CENSUS_SECONDS = 5.0
_SILENT_SECONDS = 900.0  # how long one that went silent is counted
_NAMED = 5  # of the workers that differ in the same way
_log = structlog.get_logger(__name__)


class Peers:
    """Warns of each difference, once for as long as it lasts."""

    def __init__(
        self, database: Database, me: UUID, mine: Profile, silent_seconds: float, crowd: Crowd
    ) -> None:
        self._database = database
        self._crowd = crowd
        self._me = me
        self._mine = mine
        self._silent_seconds = silent_seconds
        self._told: set[str] = set()

    async def compare(self) -> None:
        """Compare with each worker that gave a sign of life within a lease."""
        alike: dict[str, list[str]] = defaultdict(list)
        shown: dict[str, dict[str, tuple[object, object]]] = {}
        for row in await self._database.call("peers", self._me, self._silent_seconds, aside=True):
            other = Profile(row["handler"], row["handler_build"], json.loads(row["settings"] or "{}"))
            if found := differences(self._mine, other):
                kind = repr(found)
                shown[kind] = found
                alike[kind].append(f"{row['host']}:{row['pid']}")
        self._crowd.differing.set(sum(map(len, alike.values())))
        for kind in alike.keys() - self._told:
            _log.warning(
                "workers.differ", workers=alike[kind][:_NAMED], count=len(alike[kind]),
                handler=self._mine.handler_name, here_and_there=shown[kind],
                consequence="it is chance which of them gets a request",
                remedy="the same handler and settings for all workers of a prefix, or another prefix",
            )  # fmt: skip
        if self._told and not alike:
            _log.info("workers.alike", handler=self._mine.handler_name)
        self._told = set(alike)

    async def count(self) -> None:
        """Count the workers that live, and those that went silent. Each worker shows the same numbers."""
        ((live, silent),) = await self._database.call(
            "census", self._silent_seconds, _SILENT_SECONDS, aside=True
        )
        self._crowd.live.labels(self._mine.settings["prefix"]).set(live)
        self._crowd.silent.set(silent)
