"""Requests and sessions in Postgres: what a batch writes and reads, as values."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from worker.errors import LeaseLost
from worker.monitoring.profile import Peer, Profile
from worker.postgres.database import Database
from worker.postgres.put_off import PutOffLine
from worker.postgres.rows import WORKER_LOST, Claim, Held, TakenOver, held_in
from worker.values import Arrival, Completed, Failed, Refusal, Route, Work

_BATCHES_PER_WORKER = 1 << 36  # the lower bits of a lease's id; the upper ones are the worker's number


class Known(NamedTuple):
    """A request that is on record."""

    request_id: UUID
    status: str
    attempt: int
    fingerprint: bytes
    session_id: str
    response: str | None
    error_code: str | None
    route: Route
    worker: UUID | None
    lease: int | None
    received_at: datetime
    published: bool

    @property
    def finished(self) -> bool:
        return self.response is not None


class ToCancel(NamedTuple):
    """A request that is on record and to be cancelled."""

    request_id: UUID
    status: str
    attempt: int
    org_id: str | None
    session_id: str
    casefile_id: str | None
    response: str | None
    error_code: str | None
    published: bool
    route: Route
    received_at: datetime


class Store(PutOffLine):
    """What a worker does with the tables. Each method is one committed statement."""

    def __init__(self, database: Database, worker: UUID, lease_seconds: float) -> None:
        super().__init__(database, worker, lease_seconds)
        self._number = 0
        self._last_beat: datetime | None = None  # by the clock of Postgres
        self._batches = 0
        self._published: list[UUID] = []
        self._done_leases: list[int] = []
        self._busy_with: set[int] = set()
        self._leaving: set[int] = set()  # done with, and perhaps still on record
        self._shown: tuple[str | None, str | None, str | None] = (None, None, None)

    async def register(self, host: str, pid: int, version: str, profile: Profile | None = None) -> None:
        if profile is not None:
            self._shown = profile.handler, profile.handler_build, json.dumps(profile.settings)
        rows = await self._database.call("register", self._worker, host, pid, version, *self._shown)
        self._number, self._last_beat = rows[0]["number"], rows[0]["heartbeat"]

    def new_lease(self) -> int:
        lease = self._next_lease()
        self._busy_with.add(lease)
        return lease

    def _next_lease(self) -> int:
        self._batches += 1
        return self._number * _BATCHES_PER_WORKER + self._batches

    async def accept(self, arrivals: Sequence[Arrival], lease: int) -> set[UUID]:
        """Insert the new ones, claimed; returns which those are. Their ids must be distinct.

        They are inserted in the order of their ids: two batches with the same ids wait, and never deadlock.
        Raises LeaseLost when the lease was taken over before all of them were in.
        """
        rows = sorted(arrivals, key=lambda arrival: arrival.request_id.int)
        published, self._published = sorted(self._published), []
        done, self._done_leases = self._done_leases, []
        try:
            answer = await self._database.call(
                "accept", published, done, lease, self._worker, self._lease_seconds,
                [row.request_id for row in rows],
                [row.org_id for row in rows],
                [row.user_id for row in rows],
                [row.fingerprint for row in rows],
                [row.body for row in rows],
                [_refusal_text(row.refusal) for row in rows],
                [row.session_id for row in rows],
                [row.route.reply_to for row in rows],
                [row.route.correlation_id for row in rows],
                [row.route.traceparent for row in rows],
                [row.deadline_at for row in rows],
            )  # fmt: skip
        except BaseException:
            self._published += published
            self._done_leases += done
            raise
        self._leaving.difference_update(done)
        begun = set(answer[0]["begun"])
        if len(begun) < len(rows):
            # A try whose answer was lost may have inserted them: the lease tells our own.
            rest = await self.known([row.request_id for row in rows if row.request_id not in begun])
            begun.update(
                known.request_id
                for known in rest
                if (known.lease, known.worker, known.attempt) == (lease, self._worker, 1)
                and not known.finished
            )
            if not answer[0]["held"] and len(rest) < len(rows):
                raise LeaseLost
        return begun

    def note_published(self, request_ids: Sequence[UUID]) -> None:
        """Written with the next batch, or by `flush_notes` when none follows."""
        self._published.extend(request_ids)

    def note_done(self, lease: int) -> None:
        self._done_leases.append(lease)
        self._leaving.add(lease)
        self._busy_with.discard(lease)

    @property
    def has_notes(self) -> bool:
        return bool(self._published or self._done_leases)

    async def flush_notes(self) -> None:
        published, self._published = self._published, []
        done, self._done_leases = self._done_leases, []
        try:
            await self._database.call("note", sorted(published), done, self._worker)
        except BaseException:
            self._published += published
            self._done_leases += done
            raise
        self._leaving.difference_update(done)

    async def known(self, request_ids: Sequence[UUID]) -> list[Known]:
        rows = await self._database.call("known", request_ids)
        return [
            Known(
                row["request_id"], row["status"], row["attempt"], row["fingerprint"], row["session_id"],
                row["response"], row["error_code"], _route(row), row["worker"], row["lease"],
                row["received_at"], row["published"],
            )
            for row in rows
        ]  # fmt: skip

    async def to_cancel(self, request_ids: Sequence[UUID]) -> list[ToCancel]:
        rows = await self._database.call("to_cancel", request_ids)
        return [
            ToCancel(
                row["request_id"], row["status"], row["attempt"], row["org_id"], row["session_id"],
                row["casefile_id"], row["response"], row["error_code"], row["published"], _route(row),
                row["received_at"],
            )
            for row in rows
        ]  # fmt: skip

    async def begin_pending(self, request_ids: Sequence[UUID]) -> None:
        await self._database.call("begin_pending", self._worker, request_ids)

    async def redirect(self, routes: Sequence[tuple[UUID, Route]]) -> set[UUID]:
        """Send the response of unfinished requests to who asked last; returns which were unfinished.

        In the order of their ids, as whoever finishes them: the two wait for each other, and never deadlock.
        """
        given = sorted(routes, key=lambda one: one[0].int)
        rows = await self._database.call(
            "redirect",
            [request_id for request_id, _ in given],
            [route.reply_to for _, route in given],
            [route.correlation_id for _, route in given],
            [route.traceparent for _, route in given],
        )
        return {row["request_id"] for row in rows}

    async def finish(self, verdicts: Sequence[Completed | Failed]) -> dict[UUID, Route]:
        """Store these verdicts; returns where the response of each stored one goes.

        One whose attempt is not the current one any more is missing from what is returned.
        """
        rows = sorted(verdicts, key=lambda verdict: verdict.work.request_id.int)
        sessions = [row.session if isinstance(row, Completed) else None for row in rows]
        stored = await self._database.call(
            "finish", self._worker,
            [row.work.request_id for row in rows],
            [row.work.attempt for row in rows],
            ["completed" if isinstance(row, Completed) else "failed" for row in rows],
            [row.response for row in rows],
            [None if isinstance(row, Completed) else row.code.value for row in rows],
            [session and session.id for session in sessions],
            [session and session.org_id for session in sessions],
            [session and session.user_id for session in sessions],
            [session and session.name for session in sessions],
            [session and session.status for session in sessions],
            [session and session.casefile_id for session in sessions],
            [session and session.assistant_id for session in sessions],
            [session and session.phone_number_id for session in sessions],
            [session and session.expiration_seconds for session in sessions],
            [session and session.created_at for session in sessions],
            [session and session.document for session in sessions],
        )  # fmt: skip
        return {row["request_id"]: _route(row) for row in stored}

    async def heartbeat(self, host: str, pid: int, version: str) -> None:
        rows = await self._database.call(
            "heartbeat",
            self._worker,
            host,
            pid,
            version,
            self._lease_seconds,
            list(self._busy_with),
            *self._shown,
        )
        self._last_beat = rows[0]["heartbeat"]

    async def peers(self, silent_seconds: float) -> list[Peer]:
        rows = await self._database.call("peers", self._worker, silent_seconds)
        return [
            Peer(
                row["host"],
                row["pid"],
                Profile(row["handler"], row["handler_build"], json.loads(row["settings"] or "{}")),
            )
            for row in rows
        ]

    async def sign_off(self) -> None:
        """The last act of a worker: what it still holds is free at once, and no attempt is spent."""
        await self._database.once("sign_off", self._worker)

    async def forget_workers(self, silent_seconds: float) -> None:
        await self._database.call("forget_workers", silent_seconds)

    def abandon(self, lease: int) -> None:
        """Keep this lease alive no longer: whatever it holds will be recovered."""
        self._busy_with.discard(lease)

    async def take_over(self, most: int, *, from_silent_holders: bool) -> list[TakenOver]:
        last_beat = self._last_beat if from_silent_holders else None
        # A lease that this worker is leaving is not for it: the note that it is done could come after this.
        own = [*self._busy_with, *self._leaving]
        rows = await self._database.call("take_over", self._worker, self._lease_seconds, most, last_beat, own)
        self._busy_with.update(row["id"] for row in rows)
        return [TakenOver(row["id"], row["holder_silent"], row["spends_attempt"]) for row in rows]

    async def held(self, lease: int) -> list[Held]:
        return [held_in(row) for row in await self._database.call("held", [lease])]

    async def claim_again(self, claims: Sequence[Claim], lease: int) -> set[UUID]:
        """The next attempt at these requests; returns those that are this worker's now. All are of one lease:
        whoever has lost it claims nothing."""
        rows = await self._database.call(
            "claim_again", self._worker,
            [claim.request_id for claim in claims],
            [claim.attempt for claim in claims],
            lease,
            [claim.holder for claim in claims],
            [claim.lost for claim in claims],
            WORKER_LOST.reason,
        )  # fmt: skip
        claimed = {row["request_id"] for row in rows}
        missing = {claim.request_id: claim.attempt for claim in claims if claim.request_id not in claimed}
        if missing:
            # A try whose answer was lost may have claimed them.
            claimed.update(
                known.request_id
                for known in await self.known(list(missing))
                if known.worker == self._worker
                and not known.finished
                and known.attempt == missing[known.request_id] + 1
            )
        return claimed

    async def expire_sessions(self, most: int) -> int:
        return len(await self._database.call("expire_sessions", most))

    async def retire_requests(
        self, older_than_seconds: float, most: int, since: datetime | None
    ) -> tuple[int, datetime | None]:
        """Delete those of the next so many that may go; returns how many those were, and where the ones after
        them begin, if there are any."""
        row = (await self._database.call("retire_requests", older_than_seconds, most, since))[0]
        return row["retired"], row["reached"]


def first_work(arrival: Arrival) -> Work:
    """The first attempt at a request that was accepted just now."""
    return Work(
        arrival.request_id, 1, arrival.session_id, arrival.org_id, arrival.user_id, arrival.document,
        arrival.request, arrival.refusal, arrival.deadline_at, arrival.route, arrival.since,
    )  # fmt: skip


def _route(row: asyncpg.Record) -> Route:
    return Route(row["reply_to"], row["correlation_id"], row["traceparent"])


def _refusal_text(refusal: Refusal | None) -> str | None:
    if refusal is None:
        return None
    return json.dumps({"code": refusal.code, "reason": refusal.reason, "errors": refusal.errors})
