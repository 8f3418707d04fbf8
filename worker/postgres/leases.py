"""The leases of one worker: those it is busy with, those it is done with, and those it takes over."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from worker.monitoring.profile import Profile
from worker.monitoring.strain import Load
from worker.postgres.database import Database
from worker.postgres.rows import Held, TakenOver, held_in

# After an outage, others wait one lease for the beat of this worker: it is tried again within a part of that.
_BACK_WITHIN = 10
_LATE_SECONDS = 0.5  # a response that was confirmed so long before the end of its batch is noted by itself
_BATCHES_PER_WORKER = 1 << 36  # the lower bits of a lease's id; the upper ones are the worker's number


class Confirmed(NamedTuple):
    """What was confirmed under a lease of this worker's, and since when there is something."""

    request_ids: list[UUID]
    since: float


class Notes(NamedTuple):
    """The news that a statement brings along."""

    published: list[UUID]  # responses that do not follow a batch
    done: list[int]  # leases that were another worker's before
    confirmed: dict[int, list[UUID]]  # leases of its own that are done, and what was published under each
    released: set[int]  # what the statement has found to be this worker's

    @classmethod
    def none(cls) -> "Notes":
        return cls([], [], {}, set())


class Leases:
    """Keeps the book of a worker's leases in memory, and brings it to Postgres."""

    def __init__(self, database: Database, worker: UUID, seconds: float) -> None:
        self.worker = worker
        self.seconds = seconds
        self._database = database
        self._number = 0
        self._last_beat: datetime | None = None  # by the clock of Postgres
        self._batches = 0
        self._busy_with: set[int] = set()
        self._leaving: set[int] = set()  # done with, and perhaps still on record
        self._begun: dict[int, Confirmed] = {}  # leases that nobody had before, and that are not done
        self._notes = Notes.none()
        self._writing = asyncio.Lock()
        self._shown: tuple[str | None, str | None, str | None] = (None, None, None)

    async def register(self, host: str, pid: int, version: str, profile: Profile | None = None) -> None:
        """Enter this worker; it gets its number."""
        if profile is not None:
            self._shown = profile.handler, profile.handler_build, json.dumps(profile.settings)
        rows = await self._database.call("register", self.worker, host, pid, version, *self._shown)
        self._number, self._last_beat = rows[0]["number"], rows[0]["heartbeat"]

    async def heartbeat(
        self,
        host: str,
        pid: int,
        version: str,
        answered: Sequence[int] = (),
        load: Load | None = None,
    ) -> None:
        """Show that this worker lives, what it has answered and how busy it is; keep what it is busy with."""
        busy = list(self._busy_with)
        told = None if load is None else json.dumps(load._asdict())
        rows = await self._database.call(
            "heartbeat", self.worker, host, pid, version, self.seconds, busy, *self._shown, answered, told,
            again_within=self.seconds / _BACK_WITHIN,
        )  # fmt: skip
        self._last_beat = rows[0]["heartbeat"]

    async def sign_off(self) -> None:
        """Free at once what this worker still holds, without spending an attempt: its last act."""
        await self._database.once("sign_off", self.worker)

    def new(self) -> int:
        """Begin a lease. It comes on record with the first request that is accepted or taken under it."""
        self._batches += 1
        lease = self._number * _BATCHES_PER_WORKER + self._batches
        self._busy_with.add(lease)
        self._begun[lease] = Confirmed([], 0.0)
        return lease

    def done(self, lease: int) -> None:
        """End a lease: the next note removes it from the record. Each response under it has to be confirmed
        by now, or to wait on record.
        """
        if lease in self._begun:
            self._notes.confirmed[lease] = self._begun.pop(lease).request_ids
        else:
            self._notes.done.append(lease)
        self._leaving.add(lease)
        self._busy_with.discard(lease)

    def abandon(self, lease: int) -> None:
        """Keep this lease alive no longer: it runs out, and another worker takes over what it holds."""
        self._busy_with.discard(lease)
        if lease in self._begun:
            self._notes.published.extend(self._begun.pop(lease).request_ids)

    @contextmanager
    def holding(self, lease: int) -> Iterator[int]:
        """Hold a lease for as long as the work under it takes: then it is done, or abandoned by an error."""
        try:
            yield lease
        except BaseException:
            self.abandon(lease)
            raise
        self.done(lease)

    @contextmanager
    def take(self) -> Iterator[int]:
        """Hold a new lease."""
        with self.holding(self.new()) as lease:
            yield lease

    async def take_over(self, most: int, *, from_silent_holders: bool) -> list[TakenOver]:
        """Take leases that have run out or were given back, at most so many; `holding` ends each."""
        last_beat = self._last_beat if from_silent_holders else None
        # A lease that this worker is leaving is not for it: the note that it is done could come after this.
        own = [*self._busy_with, *self._leaving]
        rows = await self._database.call("take_over", self.worker, self.seconds, most, last_beat, own)
        self._busy_with.update(row["id"] for row in rows)
        return [
            TakenOver(
                lease=row["id"], holder_silent=row["holder_silent"], spends_attempt=row["spends_attempt"]
            )
            for row in rows
        ]

    async def held(self, lease: int) -> list[Held]:
        """Read the requests under a lease that are not answered yet."""
        return [held_in(row) for row in await self._database.call("held", [lease])]

    def note_published(self, request_ids: Sequence[UUID], lease: int | None = None) -> None:
        """Note that these responses are confirmed: `flush_notes` writes it. Under a lease that this worker
        has begun, the note that it is done says it of all, and the next batch may write that.
        """
        if lease not in self._begun:
            self._notes.published.extend(request_ids)
            return
        confirmed = self._begun[lease]
        if not confirmed.request_ids:
            self._begun[lease] = confirmed = Confirmed([], time.monotonic())
        confirmed.request_ids.extend(request_ids)

    async def flush_notes(self) -> None:
        """Write the notes now. Afterwards all are on record, also those that another call was writing."""
        async with self._writing:
            self._note_late_ones()
            for _ in range(2):  # again for what was published under a lease that others have taken over
                if not (self._notes.published or self._notes.done or self._notes.confirmed):
                    return
                with self._all_notes() as notes:
                    (answer,) = await self._database.call(
                        "note", notes.published, notes.done, self.worker, list(notes.confirmed)
                    )
                    notes.released.update(answer["released"])
                if notes.confirmed.keys() <= notes.released:
                    return

    def _note_late_ones(self) -> None:
        """Note by themselves those whose batch goes on for long: its worker may die before it is done."""
        late = time.monotonic() - _LATE_SECONDS
        for confirmed in self._begun.values():
            if confirmed.request_ids and confirmed.since < late:
                self._notes.published.extend(confirmed.request_ids)
                confirmed.request_ids.clear()

    @contextmanager
    def batches_done(self) -> Iterator[Notes]:
        """Hand to a batch's statement which batches before it are done. What does not follow a batch waits
        for `flush_notes`, and the leases that were others' with it: such a lease tells of its responses.
        """
        notes, self._notes = (
            self._notes._replace(published=[], done=[]),
            self._notes._replace(confirmed={}, released=set()),
        )
        with self._handed(notes):
            yield notes

    @contextmanager
    def _all_notes(self) -> Iterator[Notes]:
        notes, self._notes = self._notes, Notes.none()
        with self._handed(notes):
            yield notes._replace(published=sorted(notes.published))

    @contextmanager
    def _handed(self, notes: Notes) -> Iterator[None]:
        """Hand notes to a statement, which says what it has released. If it fails, they are kept."""
        try:
            yield
        except BaseException:
            self._notes.published.extend(notes.published)
            self._notes.done.extend(notes.done)
            self._notes.confirmed.update(notes.confirmed)
            raise
        self._leaving.difference_update(notes.done, notes.confirmed)
        for lease, request_ids in notes.confirmed.items():
            if lease not in notes.released:  # taken over, or never on record, or this was a repetition
                self._notes.published.extend(request_ids)
