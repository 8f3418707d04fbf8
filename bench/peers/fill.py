"""Makes the requests that every contender gets: the same payload, another id each."""

from collections.abc import Iterator
from uuid import uuid4


def bodies(count: int) -> Iterator[dict[str, object]]:
    for _ in range(count):
        yield {
            "request_id": str(uuid4()),
            "org_id": "org-1",
            "operation": "create_session",
            "payload": {
                "name": "Support chat, returning visitor",
                "status": "active",
                "expiration_seconds": 3600,
            },
            "timestamp": "2026-01-02T03:04:05Z",
        }
