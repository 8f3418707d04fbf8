"""Sends the events of requests to their exchange. One worker does, so that all goes out in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from schemas import RequestEvent
from worker.errors import PublishInterrupted
from worker.messages.events import event_body, event_key, event_properties
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres import database, unsent_events
from worker.postgres.database import Database
from worker.postgres.election import ANNOUNCING, Elected, Election
from worker.postgres.unsent_events import UnsentEvents
from worker.process.pace import paced, rest
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

PART = "events"
STAND_SECONDS = 1.0
FORGET_SECONDS = 3600.0
_LOOK_SECONDS = 0.2
_AT_ONCE = 50  # statements, each with the events of a batch
_FORGET_AT_ONCE = 1000
_DAY_SECONDS = 86_400
_log = structlog.get_logger(__name__)

Publish = Callable[[Sequence[Outgoing]], Awaitable[list[Receipt]]]


class Announcing:
    """Stands for election, and sends events once it is elected. Each is forgotten when the broker has it: so
    after a crash some are sent again, and none is missed.
    """

    def __init__(
        self,
        database: Database,
        publish: Publish,
        exchange: str,
        readiness: Readiness,
        own: Readiness,
        metrics: Metrics,
        keep_days: float,
    ) -> None:
        self._database = database
        self._election = Election(database, ANNOUNCING)
        self._publish = publish
        self._exchange = exchange
        self._readiness = readiness
        self._own = own
        self._metrics = metrics
        self._keep_days = keep_days

    async def run_once(self) -> None:
        """Stand for election; if this worker wins, send until the lock is lost."""
        if self._readiness.are_up(database.PART):
            await self._election.hold(self._announce)

    async def _announce(self, elected: Elected) -> None:
        unsent = UnsentEvents(elected.connection)
        sent: list[int] = []
        lag = self._metrics.watched.events_lag
        try:
            while True:
                # While they cannot be sent, one of them says for how long.
                found = await unsent.after(sent, _AT_ONCE if self._own.are_up(PART) else 1)
                lag.set(found.oldest_seconds)
                sent = found.parts if found.events and await self._send(found.events) else []
                if not sent:
                    await asyncio.sleep(_LOOK_SECONDS)
        finally:
            lag.set(0)

    async def _send(self, events: Sequence[RequestEvent]) -> bool:
        """Publish some events; return whether the broker has them. A queue of a watcher's that is full, and
        refuses one, misses it: no other watcher waits for that.
        """
        if not self._own.are_up(PART):
            return False
        try:
            with paced():
                receipts = await self._publish([await self._message(event) for event in events])
        except PublishInterrupted as error:
            _log.warning("publish.interrupted", messages=len(events), part=PART, reason=str(error))
            return False
        for receipt in set(receipts):
            self._metrics.watched.events.labels(receipt.value).inc(receipts.count(receipt))
        return True

    async def _message(self, event: RequestEvent) -> Outgoing:
        await rest()
        key, body = event_key(event), event_body(event)
        return Outgoing(self._exchange, key, body, event_properties(event), mandatory=False)

    async def forget(self) -> None:
        """Delete events that could not be sent for as long as a request is kept."""
        while forgotten := await unsent_events.forget(
            self._database, self._keep_days * _DAY_SECONDS, _FORGET_AT_ONCE
        ):
            _log.warning("events.forgotten", events=forgotten, kept_days=self._keep_days)
