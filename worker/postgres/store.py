"""Requests and sessions in Postgres: what a batch reads and writes, as values."""

import json
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from worker.errors import LeaseLost, NotStorable
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.rows import WORKER_LOST, Claim, Known, ToCancel, known_in, route_in, to_cancel_in
from worker.process.failpoint import FailPoint, Gap
from worker.values import Arrival, Completed, Failed, Refusal, Route


class Store:
    """Reads and writes requests and sessions. Each method is one committed statement."""

    def __init__(self, database: Database, leases: Leases, fail_point: FailPoint) -> None:
        self._database = database
        self._leases = leases
        self._worker = leases.worker
        self._around_finish = partial(fail_point.reach_during, Gap.DURING_FINISH)

    async def accept(self, arrivals: Sequence[Arrival], lease: int) -> set[UUID]:
        """Insert the new ones, claimed; returns which those are. Their ids must be distinct.

        They are inserted in the order of their ids: two batches with the same ids wait, and never deadlock.
        Raises LeaseLost when the lease was taken over before all of them were in.
        """
        rows = sorted(arrivals, key=lambda arrival: arrival.request_id.int)
        answer, refused = None, 0
        while answer is None:
            try:
                with self._leases.batches_done() as notes:
                    (answer,) = await self._database.call(
                        "accept", lease, self._worker, self._leases.seconds, *columns_of(rows),
                        list(notes.confirmed),
                    )  # fmt: skip
                    notes.released.update(answer["released"])
            except NotStorable as error:
                refused += 1  # another worker has inserted one of them at the same moment
                if not error.already_there or refused > len(rows):
                    raise
        begun = set(answer["begun"])
        if len(begun) < len(rows):
            # A try whose answer was lost may have inserted them: the lease tells our own.
            rest = await self.known([row.request_id for row in rows if row.request_id not in begun])
            begun.update(
                known.request_id
                for known in rest
                if (known.lease, known.worker, known.attempt) == (lease, self._worker, 1)
                and not known.finished
            )
            if not answer["held"] and len(rest) < len(rows):
                raise LeaseLost
        return begun

    async def known(self, request_ids: Sequence[UUID]) -> list[Known]:
        """Read the record of these ids."""
        return [known_in(row) for row in await self._database.call("known", request_ids)]

    async def to_cancel(self, request_ids: Sequence[UUID]) -> list[ToCancel]:
        """Read what the cancellation of these requests needs."""
        return [to_cancel_in(row) for row in await self._database.call("to_cancel", request_ids)]

    async def orgs_of(self, request_ids: Sequence[UUID]) -> dict[UUID, str | None]:
        """Say whose these requests are, of those that are on record."""
        return {row["request_id"]: row["org_id"] for row in await self._database.call("orgs_of", request_ids)}

    async def begin_pending(self, request_ids: Sequence[UUID]) -> None:
        await self._database.call("begin_pending", self._worker, request_ids)

    async def redirect(self, routes: Sequence[tuple[UUID, Route]]) -> set[UUID]:
        """Send the response of unfinished requests to the last one who asked; returns which were unfinished.

        They are updated in the order of their ids, as `finish` does: the two wait, and never deadlock.
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
            around=self._around_finish,
        )  # fmt: skip
        return {row["request_id"]: route_in(row) for row in stored}

    async def claim_again(self, claims: Sequence[Claim], lease: int) -> set[UUID]:
        """Begin the next attempt at these requests; returns those that are this worker's now. All are of one
        lease: a worker that has lost it claims nothing.
        """
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


def columns_of(arrivals: Sequence[Arrival]) -> tuple[list[object], ...]:
    """Return what is inserted of requests, a list for each column, as `accept` and `wait` take them."""
    return (
        [one.request_id for one in arrivals],
        [one.org_id for one in arrivals],
        [one.user_id for one in arrivals],
        [one.fingerprint for one in arrivals],
        [one.body for one in arrivals],
        [_refusal_text(one.refusal) for one in arrivals],
        [one.session_id for one in arrivals],
        [one.route.reply_to for one in arrivals],
        [one.route.correlation_id for one in arrivals],
        [one.route.traceparent for one in arrivals],
        [one.deadline_at for one in arrivals],
    )


def _refusal_text(refusal: Refusal | None) -> str | None:
    if refusal is None:
        return None
    return json.dumps({"code": refusal.code, "reason": refusal.reason, "errors": refusal.errors})
