"""Shares out the shards among the workers: each holds a place among them, and reads the shards of that place.

All know the same places, so nobody has to ask another one. A shard that has another reader now is read until
that one says that it reads it; two readers of one shard do no harm, since Postgres judges what a request is.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog

from worker.monitoring.crowd import Crowd
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.shard_places import ShardPlaces, ShardReaders
from worker.rabbitmq import topology
from worker.rabbitmq.buffered import Source
from worker.rabbitmq.connection import Connection
from worker.rabbitmq.intake import Intake, sources_of_requests
from worker.rabbitmq.shards import HASHING, share_of
from worker.rabbitmq.topology import Topology
from worker.services.periodic import every

INTERVAL_SECONDS = 1.0
_LOOK_SECONDS = 5.0  # where there are no shards: for the first ones
_LEAVE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Design(Protocol):
    """Makes the topology of an installation."""

    def __call__(self, *, spread: int, known: int) -> Topology: ...


class Sharing:
    """Holds the place of this worker, tells its intake what to read, and spreads requests as was agreed."""

    def __init__(
        self,
        places: ShardPlaces,
        intake: Intake,
        design: Design,
        shards: int,
        readiness: Readiness,
        crowd: Crowd,
    ) -> None:
        """`shards`: over so many this worker is to spread requests."""
        self._places = places
        self._intake = intake
        self._design = design
        self._shards = shards
        self._readiness = readiness
        self._crowd = crowd
        self._spread = shards  # as the youngest worker has it
        self._known = 1
        self._turn = asyncio.Lock()
        self._look_again = 0.0
        self._stopped = False
        self._told: object = None

    @property
    def topology(self) -> Topology:
        """What has to be there now."""
        return self._design(spread=self._spread, known=self._known)

    @property
    def shards(self) -> tuple[str, ...]:
        """The queues of requests, as far as this worker knows."""
        return self.topology.shards

    @property
    def queues(self) -> tuple[str, ...]:
        """All queues of the installation."""
        return topology.queues_in(self.topology.names, len(self.shards))

    @property
    def _is_sharded(self) -> bool:
        return max(self._shards, self._known) > 1

    async def learn(self) -> None:
        """Learn how many shards there are. Until this worker has a place it reads none of them."""
        self._known = await self._places.known()
        if self._is_sharded:
            self._read(())

    async def declare(self, connection: Connection) -> None:
        """Declare all exchanges and queues. New shards come on record before a request may get there."""
        if self._shards > self._known:
            for exchange in self.topology.exchanges:
                if exchange.kind == HASHING:  # where it cannot be, nothing is on record of shards
                    await topology.declare(connection, exchange)
            await self._places.add(self._shards)
            self._known = self._shards
        for note in await topology.apply(connection, self.topology):
            _log.warning("topology.delivery_limit_low", note=note)

    async def serve(self, connection: Connection) -> None:
        """Take part for as long as this connection lasts."""
        await every(INTERVAL_SECONDS, "shards", partial(self._take_part, connection), at_once=True)

    async def stop(self) -> None:
        """Give the place up: others read its shards from now on."""
        self._stopped = True
        if not self._is_sharded:
            return
        with suppress(TimeoutError):  # it runs out by itself
            async with asyncio.timeout(_LEAVE_SECONDS), self._turn:
                await self._places.leave()

    async def _take_part(self, connection: Connection) -> None:
        async with self._turn:
            if self._stopped or not self._readiness.are_up(database.PART):
                return
            if not self._is_sharded and not await self._look():
                return
            if self._intake.is_held_back:
                await self._places.leave()
                self._crowd.show_shards((), 0)
                return
            serves = self._serves()
            found = await self._places.hold(self._shards, serves)
            spread = found.readers[-1].spread
            if (spread, found.known) != (self._spread, self._known):
                self._spread, self._known = spread, found.known
                await topology.apply(connection, self.topology)
            self._share(found, serves)

    async def _look(self) -> bool:
        """Look now and then whether there are shards; return whether there are."""
        if (now := asyncio.get_running_loop().time()) < self._look_again:
            return False
        self._look_again = now + _LOOK_SECONDS
        self._known = await self._places.known()
        return self._is_sharded

    def _share(self, found: ShardReaders, serves: frozenset[int]) -> None:
        """Read the shards of this worker's place, and those of others that nobody else reads yet."""
        taken_up: set[int] = set()  # by those whose they are
        mine: frozenset[int] = frozenset()
        for place, reader in enumerate(found.readers):
            share = frozenset(share_of(place, len(found.readers), found.known))
            if self._places.is_own(reader):
                mine = share
            else:
                taken_up |= share & reader.serves
        wanted = sorted(mine | (serves - taken_up))
        self._read(wanted)
        unserved = set(range(1, found.known + 1)).difference(*(reader.serves for reader in found.readers))
        self._crowd.show_shards(wanted, len(unserved))
        if (told := (wanted, found.known, self._spread)) != self._told:
            self._told = told
            _log.info(
                "shards.shared", reads=wanted, shards=found.known, spread=self._spread,
                readers=len(found.readers),
            )  # fmt: skip

    def _read(self, numbers: Iterable[int]) -> None:
        undelivered, _ = sources_of_requests(self.topology.names)
        self._intake.read([undelivered, *(Source(self.shards[number - 1]) for number in numbers)])

    def _serves(self) -> frozenset[int]:
        """Return the shards that are read now."""
        reading = {source.queue for source in self._intake.reading}
        return frozenset(number for number, queue in enumerate(self.shards, 1) if queue in reading)
