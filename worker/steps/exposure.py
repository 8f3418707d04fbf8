"""Warns of fields that look like credentials and are stored as they are."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

import structlog

from worker.values import Arrival

_log = structlog.get_logger(__name__)
_REMEMBERED = 1_000
_LINES = 10  # in
_MINUTE = 60.0


class Exposure:
    """Logs each path once, and few of them in a minute: producers choose the names in a path."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()
        self._since = float("-inf")
        self._lines = 0

    def look(self, arrivals: Iterable[Arrival]) -> None:
        """Warn of what these have that was not told yet."""
        for arrival in arrivals:
            for path in arrival.exposed:
                if path not in self._told and self._may_tell():
                    self._tell(arrival, path)

    def _may_tell(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._since >= _MINUTE:
            self._since, self._lines = now, 0
        self._lines += 1
        return self._lines <= _LINES

    def _tell(self, arrival: Arrival, path: str) -> None:
        self._told[path] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        _log.warning(
            "request.looks_like_a_credential", path=path, request_id=str(arrival.request_id),
            org_id=arrival.org_id, consequence="it is stored as it is, for whoever reads the database",
            remedy="let the producer put it where credentials are sealed: docs/contract.md#secrets",
        )  # fmt: skip
