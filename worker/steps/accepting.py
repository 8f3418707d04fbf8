"""Step 3 of a batch: new requests are recorded and claimed; known ones are answered from the record."""

from collections.abc import Sequence
from hashlib import blake2b
from logging import DEBUG
from typing import NamedTuple
from uuid import UUID

import structlog

from schemas import FailureCode, session_id
from worker.errors import NotStorable
from worker.messages.admitting import NOT_ALLOWED
from worker.messages.sealing import SealKeys, is_same_request
from worker.monitoring.metrics import Metrics
from worker.postgres.rows import Known, stored_answer
from worker.postgres.store import Store
from worker.postgres.waiting_line import WaitingLine
from worker.steps.halving import in_halves
from worker.steps.not_allowed import note_not_allowed
from worker.steps.verdicts import failed_answer, failure_response, unrecorded_answer
from worker.values import Answer, Arrival, Duplicate, Refusal, Unrecorded, Waiting, Work, first_work

_log = structlog.get_logger(__name__)


class Accepted(NamedTuple):
    claimed: list[Work]
    duplicates: list[Duplicate]


class Accepting:
    """Records arrivals. Their request ids must be distinct."""

    def __init__(
        self,
        store: Store,
        waiting: WaitingLine,
        keys: SealKeys,
        metrics: Metrics,
        *,
        hides_others: bool = False,
    ) -> None:
        """`hides_others`: an organisation is not told of what is another one's."""
        self._store = store
        self._waiting = waiting
        self._keys = keys
        self._metrics = metrics
        self._hides_others = hides_others

    async def accept(self, arrivals: Sequence[Arrival], lease: int) -> Accepted:
        begun = await self._insert(arrivals, lease)
        claimed = [first_work(arrival) for arrival in begun.values()]
        if _log.is_enabled_for(DEBUG):
            for work in claimed:
                _log.debug(
                    "request.processing", request_id=str(work.request_id), attempt=1, org_id=work.org_id
                )
        rest = [arrival for arrival in arrivals if arrival.request_id not in begun]
        return Accepted(claimed, await self.known(rest) if rest else [])

    async def put_in_line(self, waiting: Sequence[Waiting]) -> list[Duplicate]:
        """Record those that may not begin yet; from then on Postgres owns them. Returns what to answer to
        those that are on record already.
        """

        async def insert(some: Sequence[Waiting]) -> dict[UUID, Waiting]:
            lined = await self._waiting.put(some)
            return {one.arrival.request_id: one for one in some if one.arrival.request_id in lined}

        lined = await in_halves(waiting, insert, _waiting_refused_by_postgres)
        for one in lined.values():
            self._metrics.put_in_line.labels(one.reason).inc()
            _log.debug(
                "request.waiting", request_id=str(one.arrival.request_id), org_id=one.arrival.org_id,
                reason=one.reason,
            )  # fmt: skip
        rest = [one.arrival for one in waiting if one.arrival.request_id not in lined]
        return await self.known(rest) if rest else []

    async def _insert(self, arrivals: Sequence[Arrival], lease: int) -> dict[UUID, Arrival]:
        """Insert the new ones; returns those, by id."""

        async def insert(some: Sequence[Arrival]) -> dict[UUID, Arrival]:
            begun = await self._store.accept(some, lease)
            return {arrival.request_id: arrival for arrival in some if arrival.request_id in begun}

        return await in_halves(arrivals, insert, _refused_by_postgres)

    async def known(self, arrivals: Sequence[Arrival]) -> list[Duplicate]:
        """Say what to answer to requests that are on record: the response they have, or nothing yet. In the
        order of the arrivals, of which several may have one id.
        """
        ids = list({arrival.request_id for arrival in arrivals})
        known = {row.request_id: row for row in await self._store.known(ids)}
        duplicates: list[Duplicate | None] = [self._known_one(known[row.request_id], row) for row in arrivals]
        elsewhere = {
            arrival.request_id: index  # of several, the last
            for index, arrival in enumerate(arrivals)
            if duplicates[index] is None
        }
        if elsewhere:
            redirected = await self._redirect([arrivals[index] for index in elsewhere.values()])
            for duplicate in redirected:
                duplicates[elsewhere[duplicate.request_id]] = duplicate
        return [
            duplicate or self._note("in_progress", Duplicate(arrival.request_id, None))
            for duplicate, arrival in zip(duplicates, arrivals, strict=True)
        ]

    def _known_one(self, row: Known, arrival: Arrival) -> Duplicate | None:
        """Say what to answer to one request. None: it is in progress, and its response is wanted elsewhere
        now.
        """
        if self._hides_others and row.org_id not in (None, arrival.org_id):
            note_not_allowed(
                self._metrics, "create_session", arrival.request_id, org_id=arrival.org_id, whose=row.org_id
            )
            told = Unrecorded(arrival.request_id, NOT_ALLOWED, arrival.route)
            return Duplicate(row.request_id, unrecorded_answer(told))
        if not is_same_request(arrival, row.fingerprint, self._keys):
            return self._note("conflict", Duplicate(row.request_id, _conflict(arrival, row)))
        if row.finished:
            answer = stored_answer(row, route=arrival.route, since=arrival.since)
            return self._note("answered_again", Duplicate(row.request_id, answer))
        if row.route == arrival.route:
            return self._note("in_progress", Duplicate(row.request_id, None))
        return None

    async def _redirect(self, arrivals: Sequence[Arrival]) -> list[Duplicate]:
        """Send the responses of requests in progress to the last one who asked."""
        moved = await self._store.redirect([(arrival.request_id, arrival.route) for arrival in arrivals])
        done = [self._note("in_progress", Duplicate(request_id, None)) for request_id in moved]
        finished_since = [arrival for arrival in arrivals if arrival.request_id not in moved]
        return done + (await self.known(finished_since) if finished_since else [])

    def _note(self, kind: str, duplicate: Duplicate) -> Duplicate:
        self._metrics.duplicates.labels(kind).inc()
        _log.info("request.duplicate", request_id=str(duplicate.request_id), kind=kind)
        return duplicate


def _refused_by_postgres(arrival: Arrival, error: NotStorable) -> Arrival | None:
    """Make the record that is kept instead: the id, and why the request failed."""
    if arrival.refusal:
        return None
    _log.error("request.not_storable", request_id=str(arrival.request_id), sqlstate=error.sqlstate)
    reason = f"the database cannot store this request (SQLSTATE {error.sqlstate})"
    errors = [{"field": "(body)", "reason": reason}]
    return arrival._replace(
        org_id=None,
        user_id=None,
        body=None,
        document=None,
        request=None,
        deadline_at=None,
        not_before=None,
        refusal=Refusal(FailureCode.INVALID_REQUEST, reason, errors),
    )


def _waiting_refused_by_postgres(one: Waiting, error: NotStorable) -> Waiting | None:
    instead = _refused_by_postgres(one.arrival, error)
    return instead and one._replace(arrival=instead)


def _conflict(arrival: Arrival, row: Known) -> Answer:
    """Answer another request under a known id. The record is untouched; this answer is a message of its own,
    the same each time it is asked for, and names a session id that nothing stands under.
    """
    mark = arrival.fingerprint[-16:]
    unused = UUID(bytes=blake2b(arrival.request_id.bytes + mark, digest_size=16).digest())
    work = Work(
        request_id=arrival.request_id,
        attempt=0,
        session_id=session_id(unused, row.received_at.date()),
        route=arrival.route,
        request=arrival.request,
    )
    refusal = Refusal(
        FailureCode.REQUEST_ID_CONFLICT,
        f"another request with the id {arrival.request_id} was accepted before: use a new id for new content",
    )
    casefile_id = arrival.request.casefile_id if arrival.request else None
    text = failure_response(work, refusal, casefile_id, row.received_at)
    return failed_answer(work, refusal, text, f"{arrival.request_id}.{mark.hex()}")
