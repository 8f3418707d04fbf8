"""Logs what happens again and again once, and then as a count."""

from typing import NamedTuple

import structlog

SECONDS = 30
_QUEUES = 100  # with a line each; all others share one
_REST = "(others)"
_log = structlog.get_logger(__name__)


class _Seen(NamedTuple):
    since: int
    fields: dict[str, object]


class Tally:
    """Logs the first warning of an event and a queue at once. Those that follow become one line an interval,
    with their number, and the last of them as an example.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    def note(self, event: str, queue: str, responses: int, **fields: object) -> None:
        if len(self._seen) >= _QUEUES and (event, queue) not in self._seen:
            queue = _REST
        seen = self._seen.get((event, queue))
        if seen is None:
            _log.warning(event, queue=queue, responses=responses, **fields)
            self._seen[event, queue] = _Seen(0, fields)
        else:
            self._seen[event, queue] = _Seen(seen.since + responses, fields)

    async def tell(self) -> None:
        """Log what has come since the last call. A queue of which nothing came begins anew."""
        seen, self._seen = self._seen, {}
        for (event, queue), (since, fields) in seen.items():
            if since:
                _log.warning(event, queue=queue, responses=since, **fields)
                self._seen[event, queue] = _Seen(0, fields)
