"""Where responses go, and what the broker has said of those places: a full queue is not asked each time."""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from schemas.wire import DIRECT_REPLY
from worker.monitoring.readiness import Readiness
from worker.rabbitmq.topology import Names
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

PART = "response_queue"
DEAD_PART = "dead_letters"
_FULL_SECONDS = 10.0  # a requester's queue that was full is taken to be so for this long
_REMEMBERED = 1000
_ATOMS = {100: 2, 115: 1, 118: 2, 119: 1}  # tag: how many bytes say how long it is
_TERM, _HEAD = 131, 3
_REST_OF_PID = {88: 12, 103: 9}


class Room:
    """What was said last of each address. The response queue stays as it was found until a publish to it is
    confirmed again: whoever sends what waits for it finds that out.
    """

    def __init__(self, names: Names, readiness: Readiness, clock: Callable[[], float] = monotonic) -> None:
        self._responses = names.responses
        self._dead = names.dead
        self._readiness = readiness
        self._clock = clock
        self._shared: dict[str, Receipt] = {}
        self._replies: OrderedDict[str, tuple[Receipt, float]] = OrderedDict()

    def known(self, message: Outgoing) -> Receipt | None:
        """What the broker would say of this message, as far as that is known; it need not be sent then."""
        if message.exchange:
            return self._shared.get(message.routing_key) if message.exchange == self._responses else None
        said = self._replies.get(message.routing_key)
        if said is None:
            return None
        if said[1] < self._clock():
            del self._replies[message.routing_key]
            return None
        return said[0]

    def learn(self, message: Outgoing, receipt: Receipt) -> None:
        if message.exchange == self._responses:
            self._learn_shared(message.routing_key, receipt)
        elif message.exchange:
            self._learn_dead(receipt)
        elif receipt is Receipt.REFUSED:
            self._remember(message.routing_key, receipt, self._clock() + _FULL_SECONDS)
        elif receipt is Receipt.UNPUBLISHABLE and is_direct(message):
            self._remember(message.routing_key, receipt, float("inf"))
        elif receipt is Receipt.CONFIRMED and self._replies:
            self._replies.pop(message.routing_key, None)

    def nothing_waits(self, status: str) -> None:
        """There is nothing to try the response queue with: the next response will tell."""
        if self._shared.pop(status, None):
            self._tell()

    def is_troubled(self, status: str) -> bool:
        return status in self._shared

    def _learn_shared(self, status: str, receipt: Receipt) -> None:
        before = self._shared.get(status)
        if receipt is Receipt.CONFIRMED:
            self._shared.pop(status, None)
        elif receipt is not Receipt.UNPUBLISHABLE:
            self._shared[status] = receipt
        if before is not self._shared.get(status):
            self._tell()

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

    def _tell(self) -> None:
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
        if len(self._replies) > _REMEMBERED:
            self._replies.popitem(last=False)


def is_direct(message: Outgoing) -> bool:
    return not message.exchange and message.routing_key.startswith(DIRECT_REPLY)


def can_be_decoded(address: str) -> bool:
    """Whether a direct-reply address has the shape of one: an Erlang process and a key, each in base64. Over
    one that has not, some brokers close the connection.
    """
    process, dot, key = address.removeprefix(DIRECT_REPLY).partition(".")
    try:
        raw = base64.b64decode(process, validate=True)
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return False
    if not dot or not key or len(raw) <= _HEAD or raw[0] != _TERM or raw[1] not in _REST_OF_PID:
        return False
    size_bytes = _ATOMS.get(raw[2])
    if size_bytes is None:
        return False
    end = _HEAD + size_bytes + int.from_bytes(raw[_HEAD : _HEAD + size_bytes])
    return b"@" in raw[_HEAD + size_bytes : end] and len(raw) == end + _REST_OF_PID[raw[1]]
