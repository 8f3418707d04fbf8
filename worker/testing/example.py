"""Makes the request that a test sends where it does not matter which."""

from copy import deepcopy
from typing import Any
from uuid import uuid4

from worker.asyncapi.examples import REQUESTS

_CONVERSATION = next(each["payload"] for each in REQUESTS if each["name"] == "conversation")


def example_request(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 — the fields of a request, right or wrong
    """Return the contract's example of a request, with an id of its own, and with these fields changed.

    >>> example_request(org_id="org-7")["org_id"]
    'org-7'
    """
    return {**deepcopy(_CONVERSATION), "request_id": str(uuid4()), **changes}
