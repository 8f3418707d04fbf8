"""Makes the requests that every contender gets: the same payload, another id each."""

from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from uuid import uuid4

ORG = "org-1"


def bodies(count: int, orgs: Iterable[str] = repeat(ORG)) -> Iterator[dict[str, object]]:
    for org in islice(orgs, count):
        yield {
            "request_id": str(uuid4()),
            "org_id": org,
            "operation": "create_session",
            "payload": {
                "name": "Support chat, returning visitor",
                "status": "active",
                "expiration_seconds": 3600,
            },
            "timestamp": "2026-01-02T03:04:05Z",
        }
