"""Says to which queues answers may go. Pure values."""

import re
from typing import NamedTuple

from schemas.wire import DIRECT_REPLY
from worker.errors import RefusedQueue

_OF_THE_BROKER = (DIRECT_REPLY, "amq.gen-")
"""How the addresses begin that the broker makes up: nobody else can guess them, or name a queue so."""


class ReplyRule(NamedTuple):
    """The queues that answers may go to: never the worker's own, or one would come back as a request."""

    own: frozenset[str] = frozenset()  # the names of the worker's exchanges and queues
    pattern: re.Pattern[str] | None = None  # of the whole names of the others; None: any

    def refuses(self, queue: str) -> str | None:
        """Say why no answer may go there, in words for the requester; None: it may."""
        if queue in self.own:
            return "the reply_to names one of the worker's own queues: name a queue of yours"
        if self.pattern is None or queue.startswith(_OF_THE_BROKER) or self.pattern.fullmatch(queue):
            return None
        return (
            "the reply_to names a queue that answers may not go to: ask the operators of the worker for the "
            "names that are allowed (WORKER_REPLY_TO_PATTERN)"
        )

    def require(self, queue: str) -> None:
        """Raise RefusedQueue, in words for an operator, unless answers may go there."""
        if queue in self.own:
            raise RefusedQueue(
                f"{queue} is one of the worker's own queues: what goes there would be taken for a request, "
                "or be nobody's. Name another queue"
            )
        if self.refuses(queue):
            raise RefusedQueue(
                f"{queue} is no queue that answers may go to: WORKER_REPLY_TO_PATTERN has "
                f"{self.pattern and self.pattern.pattern}"
            )
