"""Makes the request that a test sends where it does not matter which."""

from typing import Any
from uuid import uuid4


def example_request(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 — the fields of a request, right or wrong
    """Return a request as a producer would write it, with an id of its own, and with these fields changed.

    >>> example_request(org_id="org-7")["org_id"]
    'org-7'
    """
    return {
        "request_id": str(uuid4()),
        "org_id": "org-1",
        "operation": "create_session",
        "payload": {"name": "Support chat", "expiration_seconds": 3600},
        "timestamp": "2026-01-02T03:04:05Z",
        **changes,
    }
