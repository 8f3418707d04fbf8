"""Stands in for RabbitMQ: queues, what each channel was delivered and has not settled, confirms and returns.

It speaks the methods of AMQP that a worker uses, as values. Quorum queues and confirms behave as
RabbitMQ's: `test_fidelity.py` holds it against the real one by one script. Other than there, nothing is ever
dead-lettered, and a redelivery is not counted: no request is read in a process of its own for it.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

_IN_FRONT = 0.7
Written = Frame | ContentHeader | ContentBody


@dataclass
class Message:
    body: bytes
    properties: spec.Basic.Properties
    exchange: str
    routing_key: str
    redelivered: bool = False


@dataclass
class Queue:
    """Messages, and the channels that read them in turn; or a subscriber who gets each at once."""

    name: str
    subscriber: Callable[[Message], None] | None = None
    room: int | None = None  # how many it takes; what comes then is refused
    ready: deque[Message] = field(default_factory=deque)
    readers: deque["ServerChannel"] = field(default_factory=deque)


class OnLoan(NamedTuple):
    queue: Queue
    message: Message


class Broker:
    """Has the queues, and says where a message goes."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.queues: dict[str, Queue] = {}
        self.bindings: dict[tuple[str, str], list[str]] = {}
        self.on_wrong: Callable[[str], None] = lambda _: None  # what a client may not do

    def declare(self, name: str, *bindings: tuple[str, str]) -> Queue:
        queue = self.queues.setdefault(name, Queue(name))
        for exchange, key in bindings:
            self.bindings.setdefault((exchange, key), []).append(name)
        return queue

    def route(self, exchange: str, key: str) -> list[Queue]:
        """Return the queues that a message goes to."""
        names = self.bindings.get((exchange, key), []) if exchange else [key]
        return [self.queues[name] for name in names if name in self.queues]

    def put(self, message: Message) -> bool | None:
        """Put a message where it goes. Returns whether it was taken; None: there is no queue for it."""
        queues = self.route(message.exchange, message.routing_key)
        if not queues:
            return None
        if any(queue.room is not None and len(queue.ready) >= queue.room for queue in queues):
            return False
        for queue in queues:
            if queue.subscriber:
                queue.subscriber(message)
            else:
                queue.ready.append(message)
                self.deliver(queue)
        return True

    def deliver(self, queue: Queue) -> None:
        """Hand out what is ready to whoever has room for it, in turn."""
        passed_by = 0
        while queue.ready and passed_by < len(queue.readers):
            reader = queue.readers[0]
            queue.readers.rotate(-1)
            if reader.has_room(queue):
                reader.hand_out(queue, queue.ready.popleft())
                passed_by = 0
            else:
                passed_by += 1

    def take_back(self, loans: list[OnLoan]) -> None:
        """Put messages back: mostly to where they were, but RabbitMQ promises nothing about that."""
        in_front = self._chance.random() < _IN_FRONT
        for queue, message in reversed(loans) if in_front else loans:
            message.redelivered = True
            queue.ready.appendleft(message) if in_front else queue.ready.append(message)
        for queue in {loan.queue.name: loan.queue for loan in loans}.values():
            self.deliver(queue)


class ServerChannel:
    """The broker's side of a channel."""

    def __init__(
        self, broker: Broker, number: int, answer: Callable[["ServerChannel", list[Written]], None]
    ) -> None:
        self.number = number
        self._broker = broker
        self._answer = answer
        self._prefetch = 0
        self._tag = 0
        self.loans: dict[int, OnLoan] = {}
        self.consumers: dict[str, str] = {}  # tags, by queue
        self.confirms = False
        self._published = 0
        self.unconfirmed: dict[
            int, bool
        ] = {}  # publishes whose confirm is to be sent, and whether they were taken
        self._incoming: spec.Basic.Publish | None = None
        self._header: ContentHeader | None = None
        self._body = b""
        self.on_publish: Callable[[], None] = lambda: None

    def receive(self, frame: Written) -> None:  # noqa: C901, PLR0912 — one case for each method of AMQP
        """Do what the client asks for."""
        match frame:
            case spec.Channel.Open():
                self._say(spec.Channel.OpenOk())
            case spec.Confirm.Select():
                self.confirms = True
                self._say(spec.Confirm.SelectOk())
            case spec.Basic.Qos():
                self._prefetch = frame.prefetch_count
                self._say(spec.Basic.QosOk())
            case spec.Basic.Consume():
                self._say(spec.Basic.ConsumeOk(frame.consumer_tag))
                self.consumers[frame.queue] = frame.consumer_tag
                queue = self._broker.queues[frame.queue]
                queue.readers.append(self)
                self._broker.deliver(queue)
            case spec.Basic.Cancel():
                # Who is asked to cancel what is not there says that it is done, as RabbitMQ does.
                for name in [name for name, tag in self.consumers.items() if tag == frame.consumer_tag]:
                    self._leave(name)
                self._say(spec.Basic.CancelOk(frame.consumer_tag))
            case spec.Basic.Ack():
                self._settle(frame.delivery_tag, multiple=frame.multiple)
                self._go_on()
            case spec.Basic.Nack():
                self._broker.take_back(self._settle(frame.delivery_tag, multiple=frame.multiple))
                self._go_on()
            case spec.Basic.Publish():
                self._incoming, self._header, self._body = frame, None, b""
            case ContentHeader():
                self._header = frame
                self._take_if_whole()
            case ContentBody():
                self._body += frame.value
                self._take_if_whole()
            case spec.Channel.Close():
                self.close()
                self._say(spec.Channel.CloseOk())
            case spec.Channel.CloseOk():
                pass
            case _:
                raise NotImplementedError(f"the stand-in does not know {frame}")

    def has_room(self, queue: Queue) -> bool:
        mine = sum(loan.queue is queue for loan in self.loans.values())
        return not self._prefetch or mine < self._prefetch

    def hand_out(self, queue: Queue, message: Message) -> None:
        self._tag += 1
        self.loans[self._tag] = OnLoan(queue, message)
        deliver = spec.Basic.Deliver(
            self.consumers[queue.name], self._tag, message.redelivered, message.exchange, message.routing_key
        )
        header = ContentHeader(body_size=len(message.body), properties=message.properties)
        self._say(deliver, header, *([ContentBody(message.body)] if message.body else []))

    def close(self) -> None:
        """Take back all that is not settled."""
        for name in list(self.consumers):
            self._leave(name)
        loans, self.loans = self.loans, {}
        self._broker.take_back(list(loans.values()))

    def confirm(self, numbers: list[int], *, multiple: bool) -> None:
        """Confirm these publishes, or refuse them: each by itself, or all up to one."""
        for number in numbers:
            taken = self.unconfirmed.pop(number)
            answer = spec.Basic.Ack if taken else spec.Basic.Nack
            self._say(answer(number, multiple=multiple))

    def _take_if_whole(self) -> None:
        assert self._header is not None
        assert self._incoming is not None
        if len(self._body) < self._header.body_size:
            return
        publish, properties = self._incoming, self._header.properties
        taken = self._broker.put(Message(self._body, properties, publish.exchange, publish.routing_key))
        if taken is None and publish.mandatory:
            self._say(
                spec.Basic.Return(312, "NO_ROUTE", publish.exchange, publish.routing_key),
                ContentHeader(body_size=len(self._body), properties=properties),
                *([ContentBody(self._body)] if self._body else []),
            )
        if self.confirms:
            self._published += 1
            self.unconfirmed[self._published] = taken is not False
            self.on_publish()

    def _settle(self, tag: int, *, multiple: bool) -> list[OnLoan]:
        tags = [one for one in self.loans if one == tag or (multiple and one <= tag)]
        if not tags:
            self._broker.on_wrong(f"unknown delivery tag {tag}")
            self.close()
            self._say(spec.Channel.Close(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}", 60, 80))
        return [self.loans.pop(one) for one in tags]

    def _leave(self, name: str) -> None:
        self._broker.queues[name].readers.remove(self)
        del self.consumers[name]

    def _go_on(self) -> None:
        for name in self.consumers:
            self._broker.deliver(self._broker.queues[name])

    def _say(self, *frames: Written) -> None:
        self._answer(self, list(frames))
