"""Asks as ten organisations do that want little, and notes how long each answer takes."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from itertools import cycle, repeat
from typing import NamedTuple, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.peers.fill import bodies
from bench.stage import Site

NUMBER = 10
_NAMES = [f"quiet-{number}" for number in range(NUMBER)]
_PATIENCE_SECONDS = 600


class Asked(NamedTuple):
    at: float  # the time for which it was planned
    seconds: float  # from then until its response came


class Times(NamedTuple):
    """Times of many requests, in milliseconds."""

    requests: int
    p50: float
    p99: float


class QuietOrgs:
    """Sends one request after the other at set times, whether or not responses come. What it takes counts
    from the moment for which a request was planned: so nothing is hidden by a sender that is late.
    """

    def __init__(self, site: Site, per_second: float) -> None:
        self._site = site
        self._per_second = per_second
        self._planned: dict[str, float] = {}
        self._answered = asyncio.Event()
        self._stopping = False
        self.asked: list[Asked] = []

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._site.environ["AMQP_URL"])
        channel = await self._connection.channel(publisher_confirms=False)
        self._exchange = await channel.get_exchange(self._site.names.requests, ensure=False)
        self._replies = await channel.declare_queue(exclusive=True)
        await self._replies.consume(self._heard, no_ack=True)
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asking.cancel()
        await self._connection.close()

    async def stop(self) -> list[Asked]:
        """Sends no more; returns what was asked, once all of it is answered."""
        self._stopping = True
        await self._asking
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self._planned:
                self._answered.clear()
                await self._answered.wait()
        return self.asked

    async def _ask(self) -> None:
        planned = time.time()
        orgs = cycle(_NAMES)
        for org in orgs:
            (body,) = bodies(1, repeat(org))
            await asyncio.sleep(planned - time.time())
            if self._stopping:
                return
            request_id = str(body["request_id"])
            self._planned[request_id] = planned
            await self._exchange.publish(
                aio_pika.Message(
                    json.dumps(body).encode(),
                    correlation_id=request_id,
                    reply_to=self._replies.name,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                "create",
            )
            planned += 1 / self._per_second

    async def _heard(self, message: AbstractIncomingMessage) -> None:
        planned = self._planned.pop(str(message.correlation_id), None)
        if planned is not None:
            self.asked.append(Asked(planned, time.time() - planned))
            self._answered.set()


def times_of(asked: Sequence[Asked]) -> Times | None:
    """Returns None where there are too few."""
    if len(asked) < 2:
        return None
    cuts = statistics.quantiles([one.seconds for one in asked], n=100, method="inclusive")
    return Times(len(asked), cuts[49] * 1000, cuts[98] * 1000)
