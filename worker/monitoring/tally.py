"""What happens again and again is told once, and then as a count."""

from typing import NamedTuple

import structlog

SECONDS = 30
_QUEUES = 100  # told of one by one; of the rest together
_REST = "(others)"
_log = structlog.get_logger(__name__)


class _Seen(NamedTuple):
    since: int
    fields: dict[str, object]


class Tally:
    """The first warning of an event and a queue is told at once. What follows is told as one line an
    interval, with how many it is about and the last of them for an example.
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
        """What has come since the last time. A queue of which nothing did begins anew."""
        seen, self._seen = self._seen, {}
        for (event, queue), (since, fields) in seen.items():
            if since:
                _log.warning(event, queue=queue, responses=since, **fields)
                self._seen[event, queue] = _Seen(0, fields)
