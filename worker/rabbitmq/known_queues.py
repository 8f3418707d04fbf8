"""Remembers what the broker said of the queues that responses go to: a full one is not tried each time."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from worker.monitoring.readiness import Readiness
from worker.rabbitmq.direct_reply import is_direct_reply
from worker.rabbitmq.topology import Names
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

PART = "response_queue"
DEAD_PART = "dead_letters"
_FULL_SECONDS = 10.0  # a requester's queue that was full counts as full for this long
_MOST_REMEMBERED = 1000


class KnownQueues:
    """Keeps the last receipt of each address that did not take a message. The response queue counts as full,
    or as missing, until it confirms a publish again: the service that sends waiting responses tries it.
    """

    def __init__(self, names: Names, readiness: Readiness, clock: Callable[[], float] = monotonic) -> None:
        self._responses = names.responses
        self._dead = names.dead
        self._readiness = readiness
        self._clock = clock
        self._shared: dict[str, Receipt] = {}
        self._replies: OrderedDict[str, tuple[Receipt, float]] = OrderedDict()

    def known(self, message: Outgoing) -> Receipt | None:
        """Return the receipt that this message would get, if that is known: it need not be published then."""
        if message.exchange:
            return self._shared.get(message.routing_key) if message.exchange == self._responses else None
        remembered = self._replies.get(message.routing_key)
        if remembered is None:
            return None
        receipt, until = remembered
        if until < self._clock():
            del self._replies[message.routing_key]
            return None
        return receipt

    def learn(self, message: Outgoing, receipt: Receipt) -> None:
        """Remember the receipt that this message got, and tell readiness of the worker's own queues."""
        if message.exchange == self._responses:
            self._learn_shared(message.routing_key, receipt)
        elif message.exchange:
            self._learn_dead(receipt)
        elif receipt is Receipt.REFUSED:
            self._remember(message.routing_key, receipt, self._clock() + _FULL_SECONDS)
        elif receipt is Receipt.UNPUBLISHABLE and is_direct_reply(message.routing_key):
            self._remember(message.routing_key, receipt, float("inf"))
        elif receipt is Receipt.CONFIRMED and self._replies:
            self._replies.pop(message.routing_key, None)

    def nothing_waits(self, status: str) -> None:
        """Forget the trouble of the response queue: nothing waits to try it with; the next response will."""
        if self._shared.pop(status, None):
            self._tell_readiness()

    def is_troubled(self, status: str) -> bool:
        return status in self._shared

    def _learn_shared(self, status: str, receipt: Receipt) -> None:
        before = self._shared.get(status)
        if receipt is Receipt.CONFIRMED:
            self._shared.pop(status, None)
        elif receipt is not Receipt.UNPUBLISHABLE:
            self._shared[status] = receipt
        if before is not self._shared.get(status):
            self._tell_readiness()

    def _learn_dead(self, receipt: Receipt) -> None:
        if receipt is Receipt.CONFIRMED:
            self._readiness.up(DEAD_PART)
        elif receipt is not Receipt.UNPUBLISHABLE:
            what = "takes no more: is it full?" if receipt is Receipt.REFUSED else "has no queue behind it:"
            self._readiness.down(
                DEAD_PART,
                f"{self._dead} {what} What cannot be read is held until it can go there; with too much held, "
                "nothing more is taken",
            )

    def _tell_readiness(self) -> None:
        if not self._shared:
            self._readiness.up(PART)
        elif Receipt.REFUSED in self._shared.values():
            self._readiness.down(
                PART,
                f"{self._responses} takes no more: is it full? Responses wait on record, all else goes on",
            )
        else:
            self._readiness.down(
                PART,
                f"no queue is behind {self._responses}: run `session-worker topology apply`. Responses wait "
                "on record, all else goes on",
            )

    def _remember(self, address: str, receipt: Receipt, until: float) -> None:
        self._replies[address] = (receipt, until)
        self._replies.move_to_end(address)
        if len(self._replies) > _MOST_REMEMBERED:
            self._replies.popitem(last=False)
