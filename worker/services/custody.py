"""Dead letters are taken into Postgres, where people can look at them, mend them and send them again."""

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from worker.errors import ValuesRefused
from worker.messages.custody import Letter, bare, letter_of, undescribed
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys
from worker.postgres.dead_letters import Custody
from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake

PART = "custody"
AT_ONCE = 100  # deliveries in hand, and in a statement
HELD_BYTES = 16 << 20
LARGEST_BODY = 512 << 20  # of any size: a dead letter is never left unread for it
COUNT_SECONDS = 5.0
_COST = 50  # it is counted again after at least so many times what it took to count
_SHARE = 0.1  # of the time, at most, is spent on dead letters: the requests come first
_LONGEST_REST = 1.0  # also when Postgres was away meanwhile
_AGAIN_SECONDS = 5.0
_SECONDS_PER_DAY = 86_400
_log = structlog.get_logger(__name__)


class TakingIntoCustody:
    """Takes dead letters from their queue while there is room. All workers share in it. Each counts where it
    matters: before it takes something, unless it has just counted, and while there is no room; so the bound
    may be passed by what all take in a few seconds.
    """

    def __init__(
        self,
        intake: Intake,
        custody: Custody,
        keys: SealKeys,
        *,
        most: int,
        days: float,
    ) -> None:
        self._intake = intake
        self._custody = custody
        self._keys = keys
        self._most = most
        self._seconds = days * _SECONDS_PER_DAY or None
        self._room = 0
        self._counted_at, self._count_took = -math.inf, 0.0
        self._told_full = False
        self._at_work = asyncio.Lock()
        intake.hold_back()  # until it is known that there is room

    async def run(self) -> None:
        """Take what arrives, until it is stopped. A batch is acknowledged once it is stored."""
        while await self._intake.arrivals():
            begun = time.monotonic()
            async with self._at_work:
                await self._take_some()
            took = time.monotonic() - begun
            await asyncio.sleep(min(took * (1 / _SHARE - 1), _LONGEST_REST))
        await asyncio.Event().wait()  # a service does not end

    async def look_for_room(self) -> None:
        """Count what is in custody, if it is not known that there is room."""
        if self._room <= 0:
            await self._count(0)

    async def _count(self, seconds: float) -> None:
        """Count what is in custody, unless that was done less than so many seconds ago, or takes long.
        What does not fit stays in the queue.
        """
        begun = time.monotonic()
        if begun - self._counted_at < max(seconds, _COST * self._count_took):
            return
        kept = await self._custody.count(self._most)
        self._counted_at, self._count_took = begun, time.monotonic() - begun
        self._room = self._most - kept
        if self._room > 0:
            self._intake.go_on()
        else:
            self._intake.hold_back()
        if (full := self._room <= 0) != self._told_full:
            self._told_full = full
            if full:
                _log.warning(
                    "custody.full", kept=kept, consequence="dead letters stay in their queue",
                    remedy="`session-worker dead list`, replay or drop; or raise WORKER_MAX_DEAD_LETTERS",
                )  # fmt: skip
            else:
                _log.info("custody.has_room", kept=kept)

    async def retire(self) -> None:
        """Delete what is old."""
        kept, ended = await self._custody.retire(self._seconds)
        if kept:
            _log.warning("dead_letters.retired", dead_letters=kept, why="older than WORKER_DEAD_LETTER_DAYS")
        if ended:
            _log.info("dead_letters.forgotten", dead_letters=ended)

    async def stop(self) -> None:
        """Take nothing more, and finish the batch in hand."""
        await self._intake.stop()
        async with self._at_work:
            await self._intake.flush()

    async def _take_some(self) -> None:
        batch: list[Delivery] = []
        try:
            await self._count(COUNT_SECONDS)
            batch = self._intake.take(min(AT_ONCE, self._room))
            if not batch:
                if self._room <= 0:
                    self._intake.hold_back()
                return
            stored = await self._store(batch)
        except Exception:  # noqa: BLE001 — logged with its traceback; they stay in their queue
            _log.exception("service.failed", service=PART)
            await asyncio.sleep(_AGAIN_SECONDS)
            await self._intake.give_back(batch)
            return
        self._room -= stored
        await self._intake.settle(batch, everything=True)

    async def _store(self, batch: Sequence[Delivery]) -> int:
        # In a thread: to digest and to seal large bodies takes a while, and the requests do not wait for it.
        letters = await asyncio.to_thread(self._letters, batch)
        try:
            return await self._custody.keep(letters)
        except ValuesRefused:  # one of them is at fault
            return sum([await self._store_one(letter) for letter in letters])

    async def _store_one(self, letter: Letter) -> int:
        try:
            return await self._custody.keep([letter])
        except ValuesRefused:
            return await self._custody.keep([bare(letter)])

    def _letters(self, batch: Sequence[Delivery]) -> list[Letter]:
        now = datetime.now(UTC)
        return [self._letter(delivery.message, now) for delivery in batch]

    def _letter(self, message: Message, now: datetime) -> Letter:
        try:
            return letter_of(message, self._keys, now)
        except Exception:  # noqa: BLE001 — logged; nothing that somebody sent may keep the others out
            _log.exception("custody.misread")
            return undescribed(message.body, self._keys, now)
