"""Explains a request: what has happened to it, one line an event, and what happens next."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from worker.operations.delivery import delivery
from worker.operations.record import Record, Row
from worker.operations.waits import waits
from worker.postgres.database import Database

_LONGEST = 500  # characters of an error: the record itself has all of them


class Event(NamedTuple):
    """Something that happened to a request."""

    at: datetime
    what: str
    text: str


class Explanation(NamedTuple):
    """What has happened, in order, and what will: `by_itself`, or not before somebody does something."""

    events: list[Event]
    next: str
    by_itself: bool


async def explain(database: Database, record: Record) -> Explanation:
    """Explain what is on record about a request."""
    ids = {row["worker"] for row in (*record["history"], *record["attempts"]) if row["worker"]}
    if lease_worker := record["request"]["lease_worker"]:
        ids.add(lease_worker)
    rows = await database.call("worker_places", list(ids), aside=True)
    return explained(record, {row["id"]: row["place"] for row in rows})


def explained(record: Record, places: dict[UUID, str]) -> Explanation:
    """Explain it; a worker that is not among the places is named by its id."""
    request = record["request"]
    events = [Event(request["received_at"], "received", _received(request))]
    for step in record["history"]:
        if step["status"] == "processing":
            events.append(Event(step["at"], f"attempt {step['attempt']}", f"by {_worker(step, places)}"))
        elif step["status"] in ("completed", "failed"):
            events.append(Event(step["at"], step["status"], _ended(record, step["at"])))
    for attempt in record["attempts"]:
        at_place = f", at {attempt['place'].rpartition('/')[2]}" if attempt["place"] else ""
        text = f"attempt {attempt['attempt']}: {attempt['reason'] or attempt['kind']}{at_place}"
        events.append(Event(attempt["at"], attempt["kind"], text))
    if request["published_at"] is not None:
        where = request["reply_to"] or "the response queue"
        events.append(Event(request["published_at"], "delivered", f"confirmed by the broker, to {where}"))
    elif request["undelivered_at"] is not None and (told := delivery(request)):
        events.append(Event(request["undelivered_at"], "NOT DELIVERED", told.text.partition(": ")[2]))
    follows, by_itself = _next(request, places)
    return Explanation(sorted(events, key=lambda event: event.at), follows, by_itself)


def _received(request: Row) -> str:
    known = (
        (name, request[column])
        for name, column in (
            ("org", "org_id"), ("user", "user_id"), ("correlation id", "correlation_id"),
            ("answer to", "reply_to"), ("deadline", "deadline_at"),
        )
    )  # fmt: skip
    return ", ".join(f"{name} {value}" for name, value in known if value is not None)


def _ended(record: Record, at: datetime) -> str:
    request = record["request"]
    took = f"+{_seconds(at - request['received_at'])}"
    if request["status"] == "completed":
        return f"{took}, session {request['session_id']}"
    error = str((record["response"] or {}).get("error"))
    return f"{took}, {request['error_code']}: {error[:_LONGEST]}"


def _next(request: Row, places: dict[UUID, str]) -> tuple[str, bool]:
    """Say what happens next, and whether it does so by itself."""
    if request["finished_at"] is not None:
        told = delivery(request)
        if told is None or told.state == "confirmed":
            return "nothing: it is answered", True
        by_itself = request["answer_at"] is not None or told.state == "unconfirmed"
        return told.text if by_itself else f"nothing will happen by itself. {told.text}", by_itself
    if reason := waits(request):
        return f"it waits: {reason}. It begins by itself then", True
    if request["due_at"] is not None:
        return f"attempt {request['attempt'] + 1} is due at {_at(request['due_at'])}", True
    if request["lease_until"] is not None:
        holder = places.get(request["lease_worker"], request["lease_worker"])
        who = f"the worker {holder} has it" if holder else "no worker has it now"
        return f"{who}; another one takes it over after {_at(request['lease_until'])}, if need be", True
    return "nothing holds it: no lease, no line and no time. Nothing will happen by itself", False


def _worker(step: Row, places: dict[UUID, str]) -> str:
    worker = step["worker"]
    return places.get(worker, f"the worker {worker}") if worker else "a worker"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _seconds(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
