"""Explains a request: what has happened to it, one line an event, and what happens next."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from schemas import FailureCode
from worker.operations import steering
from worker.operations.delivery import delivery
from worker.operations.promises import Violation
from worker.operations.record import Record, Row
from worker.operations.waits import waits
from worker.postgres.database import Database
from worker.rules import NO_ORG, Pause

_LONGEST = 500  # characters of an error: the record itself has all of them
_LETTERS = 10


class Event(NamedTuple):
    """Something that happened to a request."""

    at: datetime
    what: str
    text: str


class Explanation(NamedTuple):
    """What has happened, in order, and what will: `by_itself`, or not before somebody does something."""

    events: list[Event]
    waits: str | None  # what for, and until when
    call: str | None  # of the handler that is under way, if it takes long: how far it is
    next: str
    by_itself: bool
    command: str | None  # that goes on where nothing does, or for whoever wants something else


class Beside(NamedTuple):
    """What stands beside the record of a request: what else there is to be told about it."""

    places: Mapping[UUID, str] = {}  # of workers; one that is not among them is named by its id
    retries: Mapping[str, object] = {}
    dead_letters: Sequence[Row] = ()
    pauses: Sequence[Pause] = ()
    call: Row | None = None  # of the handler that takes long


async def explain(database: Database, record: Record, responses: str) -> Explanation:
    """Explain what is on record about a request. `responses`: the queue to which any response may go."""
    request = record["request"]
    ids = {row["worker"] for row in (*record["history"], *record["attempts"]) if row["worker"]}
    if request["lease_worker"]:
        ids.add(request["lease_worker"])
    key = request["request_id"]
    places = await database.call("worker_places", list(ids), aside=True)
    retries = await database.call("retries_of", key, aside=True)
    letters = await database.call("dead_letters_of", key, _LETTERS, aside=True)
    paused = await steering.pauses(database) if request["waits_for"] == "paused" else []
    calls = await database.call("call_of", key, aside=True) if request["finished_at"] is None else []
    return explained(
        record,
        Beside(
            places={row["id"]: row["place"] for row in places},
            retries=dict(retries[0]) if retries else {},
            dead_letters=[dict(row) for row in letters],
            pauses=[one.pause for one in paused],
            call=dict(calls[0]) if calls else None,
        ),
        responses,
    )


def explained(record: Record, beside: Beside, responses: str) -> Explanation:
    """Explain it by what was read."""
    request = record["request"]
    events = [Event(request["received_at"], "received", _received(request))]
    events += _on_its_way(record, beside.places)
    if request["published_at"] is not None:
        where = request["reply_to"] or "the response queue"
        events.append(Event(request["published_at"], "delivered", f"confirmed by the broker, to {where}"))
    elif request["undelivered_at"] is not None and (told := delivery(request)):
        events.append(Event(request["undelivered_at"], "NOT DELIVERED", told.text.partition(": ")[2]))
    events += _beside(request, beside)
    follows, by_itself, command = _next(request, beside, responses)
    return Explanation(
        events=sorted(events, key=lambda event: event.at),
        waits=waits(request),
        call=_call(beside.call) if beside.call else None,
        next=follows,
        by_itself=by_itself,
        command=command,
    )


def _on_its_way(record: Record, places: Mapping[UUID, str]) -> Iterator[Event]:
    for step in record["history"]:
        if step["status"] == "processing":
            yield Event(step["at"], f"attempt {step['attempt']}", f"by {_worker(step, places)}")
        elif step["status"] in ("completed", "failed"):
            yield Event(step["at"], step["status"], _ended(record, step["at"]))
    for attempt in record["attempts"]:
        at_place = f", at {attempt['place'].rpartition('/')[2]}" if attempt["place"] else ""
        text = f"attempt {attempt['attempt']}: {attempt['reason'] or attempt['kind']}{at_place}"
        yield Event(attempt["at"], attempt["kind"], text)


def _beside(request: Row, beside: Beside) -> Iterator[Event]:
    retries = beside.retries
    if of := retries.get("retry_of"):
        text = f"it is the retry of {of}{_who(retries, 'retry')}"
        yield Event(request["received_at"], "retry", text)
    if (at := retries.get("retried_at")) and isinstance(at, datetime):
        yield Event(at, "retried", f"as {retries['retried_as']}{_who(retries, 'retried')}")
    for letter in beside.dead_letters:
        text = f"{letter['id']} has its id ({letter['state']}): {letter['reason'][:_LONGEST]}"
        yield Event(letter["died_at"], "dead letter", text)


def _who(retries: Mapping[str, object], which: str) -> str:
    who = retries[f"{which}_by"]
    return f", selection {retries[f'{which}_selection']}{f' by {who}' if who else ''}"


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


def _next(request: Row, beside: Beside, responses: str) -> tuple[str, bool, str | None]:
    """Say what happens next, whether it does so by itself, and which command goes on otherwise."""
    if request["finished_at"] is not None:
        return _after_its_end(request, beside, responses)
    if waits(request):
        return "it begins by itself, once it need not wait any more", True, _to_resume(request, beside.pauses)
    if request["due_at"] is not None:
        return f"attempt {request['attempt'] + 1} is due at {_at(request['due_at'])}", True, None
    if request["lease_until"] is not None:
        holder = beside.places.get(request["lease_worker"], request["lease_worker"])
        who = f"the worker {holder} has it" if holder else "no worker has it now"
        return f"{who}; another one takes it over after {_at(request['lease_until'])}, if need be", True, None
    return (
        "nothing holds it: no lease, no line and no time. Nothing will happen by itself", False,
        f'session-worker requests cancel {request["request_id"]} --because "nothing holds it"',
    )  # fmt: skip


def _after_its_end(request: Row, beside: Beside, responses: str) -> tuple[str, bool, str | None]:
    told, key = delivery(request), request["request_id"]
    if told is not None and told.state != "confirmed":
        if request["answer_at"] is not None or told.state == "unconfirmed":
            return told.text, True, None
        again = f"session-worker requests resend {key}"
        if request["reply_to"] is not None and request["undelivered"] != "refused":
            again += f" --to {shlex.quote(responses)}"
        return f"nothing will happen by itself. {told.text}", False, again
    if retried_as := beside.retries.get("retried_as"):
        text = "nothing: it is answered, and was retried as another request"
        return text, True, f"session-worker requests explain {retried_as}"
    wanted = request["status"] == "failed" and request["error_code"] != FailureCode.CANCELLED
    if wanted and not beside.retries.get("refused", False):
        text = "nothing: it is answered. To have it tried anew, as another request"
        return text, True, f"session-worker requests retry {key}"
    return "nothing: it is answered", True, None


def _call(call: Row) -> str:
    """Say how far a call is by its own words, and whether its worker shows that it lives."""
    fraction, text, told = call["fraction"], call["text"], call["told_seconds"]
    says = ", ".join(part for part in (None if fraction is None else f"{fraction:.0%}", text) if part)
    under_way = f"attempt {call['attempt']} has been at work for {call['seconds']:,.0f} s"
    heard = f"the last sign of life of its worker was {call['silent_seconds']:,.0f} s ago"
    return f"{under_way}: {f'{says} ({told:,.0f} s ago); ' if says else ''}{heard}"


def _to_resume(request: Row, pauses: Sequence[Pause]) -> str | None:
    if any(pause.scope == "all" for pause in pauses):
        return "session-worker resume"
    org = request["org_id"] or NO_ORG
    if any(pause.scope == "org" and pause.name == org for pause in pauses):
        return f"session-worker resume --org {shlex.quote(org)}"
    return None


def _worker(step: Row, places: Mapping[UUID, str]) -> str:
    worker = step["worker"]
    return places.get(worker, f"the worker {worker}") if worker else "a worker"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _seconds(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def verdict_on(broken: Sequence[Violation]) -> str:
    """Say whether the promises about a request are kept."""
    found = "; ".join(f"BROKEN: {each.promise}: {each.found}" for each in broken)
    return found or "the promises are kept so far"


def as_record(request_id: UUID, told: Explanation, broken: Sequence[Violation]) -> dict[str, Any]:
    return {
        "request_id": request_id, "events": [event._asdict() for event in told.events],
        "verdict": verdict_on(broken), "broken": [each._asdict() for each in broken],
        "waits": told.waits, "call": told.call, "next": told.next, "by_itself": told.by_itself,
        "command": told.command,
    }  # fmt: skip
