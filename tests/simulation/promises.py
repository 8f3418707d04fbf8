"""Judges a run: whether all is done, and whether every promise was kept.

What one request's record and responses have to be is judged by the code of `session-worker verify`.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from simulation.plan import GONE, OWN, PREFIX, SHARED, Sent
from simulation.rows import Request

from worker.operations import promises
from worker.operations.promises import Received, Recorded

if TYPE_CHECKING:
    from simulation.run import Run

DEAD = f"{PREFIX}.dead"
_IN = (f"{PREFIX}.requests", f"{PREFIX}.cancels")


def settled(run: "Run") -> bool:
    """Return whether nothing is left that a worker would have to do. When all have stopped, a lease may be
    left: a statement of a worker that has signed off can be carried out after that. It runs out.
    """
    return not run.tables.leases and not list(_left(run))


def _left(run: "Run") -> Iterator[str]:  # noqa: C901 — one line for each thing that may be left
    """Say what is left to do."""
    for name in _IN:
        if run.broker.queues[name].ready:
            yield f"{len(run.broker.queues[name].ready)} in {name}"
    for connection in run.network.connections:
        for channel in connection.at_server.values():
            if channel.loans:
                yield f"{len(channel.loans)} not settled on a channel of worker {connection.actor}"
    for one, row in run.tables.requests.items():
        if not row.finished:
            yield f"{one} is {row.status}"
        elif row.answer_at is not None:
            yield f"the response of {one} waits"
        elif row.undelivered is None and not row.is_published(run.tables.confirmed):
            yield f"the response of {one} is not noted as published"
        elif row.due_at is not None:
            yield f"{one} is due"
    if run.tables.other_answers:
        yield f"{len(run.tables.other_answers)} other answers"


def broken_promises(run: "Run") -> Iterator[str]:
    """Say what promise was not kept, and for whom."""
    yield from (f"left: {what}" for what in _left(run))
    copies = promises._sorted_out(
        Received(str(message.properties.message_id), message.body)
        for _, queue, message in run.received
        if queue != DEAD
    )
    sent: dict[UUID, list[Sent]] = defaultdict(list)
    for one in run.plan.sent:
        sent[one.request_id].append(one)
    for request_id, messages in sent.items():
        key, row = str(request_id), run.tables.requests.get(request_id)
        if all(one.kind == "unreadable" for one in messages):
            continue
        recorded = _recorded(row) if row else None
        own, beside = copies.responses.pop(key, []), copies.conflicts.pop(key, [])
        lost = not own and any(one.reply_to == GONE for one in messages)
        for violation in promises._check(key, recorded, own, promised=True, refused=False):
            if not (lost and violation.promise == "every request is answered"):
                yield f"{violation.promise}: {key}: {violation.found}"
        for violation in promises._check_conflicts(key, recorded, beside):
            yield f"{violation.promise}: {key}: {violation.found}"
        if row is not None:
            yield from _wrong_verdict(row, messages)
            yield from _not_told(run, row, messages)
    for key in [*copies.responses, *copies.conflicts]:
        yield f"nothing invented: {key}"
    unreadable = sum(one.kind == "unreadable" for one in run.plan.sent)
    dead = sum(queue == DEAD for _, queue, _ in run.received)
    if dead < unreadable or (dead and not unreadable):
        yield f"{unreadable} unreadable messages, {dead} dead letters"


def _recorded(row: Request) -> Recorded:
    return Recorded(
        status=row.status,
        attempt=row.attempt,
        session_id=row.session_id,
        response=row.response,
        error_code=row.error_code,
        history=[(status, attempt) for status, attempt, _ in row.history],
        sessions=row.sessions,
        failed_attempts=tuple(row.failed),
        by=[worker for *_, worker in row.history],
    )


def _wrong_verdict(row: Request, messages: list[Sent]) -> Iterator[str]:
    """Say which verdict has nothing that could have led to it."""
    kinds = {one.kind for one in messages}
    does = {one.does for one in messages}
    failures = {one.kind for one in row.failed.values()}
    possible = {
        "cancelled": "cancel" in kinds,
        "deadline_exceeded": any(one.deadline for one in messages),
        "invalid_request": bool(kinds & {"refused", "unstorable"}),
        "rejected": "reject" in does,
        "attempts_exhausted": bool(failures),
        None: not kinds & {"refused", "unstorable"},
    }
    if row.finished and not possible.get(row.error_code):
        yield f"the verdict is true: {row.request_id} failed with {row.error_code}"
    if does == {"good"} and (invented := failures & {"raised", "retry_later"}):
        yield f"the record is true: {row.request_id} has failures that nobody made: {invented}"


def _not_told(run: "Run", row: Request, messages: list[Sent]) -> Iterator[str]:
    """Whoever sends a message, again or for the first time, is sent a response after it."""
    if not {one.reply_to for one in messages} <= {SHARED, OWN}:
        return
    last = max(one.at for one in messages)
    times = [
        at
        for at, queue, message in run.received
        if queue != DEAD and str(message.properties.message_id).startswith(str(row.request_id))
    ]
    wanted = [one for one in messages if one.kind != "cancel" or one.reply_to is not None]
    if wanted and wanted[-1].at == last and not any(at >= last for at in times):
        yield f"every request is answered: {row.request_id} was sent at {last:.2f}, answered at {times}"
