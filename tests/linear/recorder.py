"""Records what clients do and see of request ids, on one monotonic clock, and has it judged at the end.

The way of a response costs two numbers and a list's place: nothing is read before the end.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

from linear.checker import Operation, not_linearizable, received, sent, unanswered
from linear.specification import Answered, Asked, Cancelled, Looked, Refused

from worker.operations.promises import Violation

_CONFLICT = "request_id_conflict"
_ID = 36  # characters of a request id: a message id begins with it, and only that of a conflict goes on


class Recorder:
    """Keeps the operations of each request id. A content's name is its casefile, which a response repeats."""

    def __init__(self) -> None:
        self._operations: dict[UUID, list[Operation]] = defaultdict(list)
        self._received: list[tuple[float, str, bytes]] = []

    @contextmanager
    def sending(self, request_id: UUID, what: Asked | Cancelled) -> Iterator[None]:
        """Records a message around its publish, which ends without an error if the broker confirms it."""
        begun, confirmed = monotonic(), False
        try:
            yield
            confirmed = True
        finally:
            self._operations[request_id].append(sent(what, begun, confirmed=confirmed))

    def receive(self, message_id: str, body: bytes) -> None:
        self._received.append((monotonic(), message_id, body))

    def look(self, request_id: UUID, status: str, attempt: int, begun: float) -> None:
        """Records a look at a request which was begun then, and has ended now."""
        self._operations[request_id].append(Operation(Looked(status, attempt), begun, monotonic()))

    def may_have_been(self, request_id: UUID, what: Asked | Cancelled) -> None:
        """Records what somebody else may have done at any time."""
        self._operations[request_id].append(sent(what, -math.inf, confirmed=False))

    def judge(self, *, settled: bool) -> list[Violation]:
        """Finds what no order explains. `settled`: nothing is on its way any more, so all is answered."""
        violations = []
        for request_id, operations in self._all().items():
            if why := not_linearizable(operations):
                violations.append(Violation("linearizable", request_id, why))
            elif settled and (why := unanswered(operations)):
                violations.append(Violation("each request is answered", request_id, why))
        return violations

    def unanswered(self) -> int:
        """Counts the requests that were asked for again and not answered since."""
        again = {str(each) for each, operations in self._operations.items() if len(operations) > 1}
        return sum(unanswered(operations) is not None for operations in self._all(again).values())

    def counts(self) -> dict[str, int]:
        """Counts the operations by their kind."""
        counted = Counter(
            type(one.what).__name__.lower() for operations in self._operations.values() for one in operations
        )
        refused = sum(len(message_id) > _ID for _, message_id, _ in self._received)
        return {**counted, "answered": len(self._received) - refused, "refused": refused}

    def _all(self, wanted: Container[str] | None = None) -> dict[str, list[Operation]]:
        """Returns the operations of these request ids, or of all."""
        found = {
            str(request_id): list(operations)
            for request_id, operations in self._operations.items()
            if wanted is None or str(request_id) in wanted
        }
        for at, message_id, body in self._received:
            if wanted is None or message_id[:_ID] in wanted:
                request_id, seen = _read(message_id, body)
                found.setdefault(request_id, []).append(received(seen, at))
        return found


def _read(message_id: str, body: bytes) -> tuple[str, Answered | Refused]:
    response: dict[str, Any] = json.loads(body)
    code = (response.get("metadata") or {}).get("code")
    content = (response.get("payload") or {}).get("casefile_id")
    if code == _CONFLICT:
        return response["request_id"], Refused(content, message_id, body)
    return response["request_id"], Answered(response["status"], code, content, message_id, body)
