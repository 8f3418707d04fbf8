"""Makes the requests that every contender gets: the same payload, another id each."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, repeat
from time import process_time
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


@contextmanager
def timed() -> Iterator[None]:
    """Prints the processor seconds that are used in here: a program's start is none of a request's."""
    begun = process_time()
    yield
    print(process_time() - begun)
