"""The law says which steps a request and a lease may take, and which statement takes each of them.

It stands here once. The guard in Postgres, `session-worker verify`, the model of the tests and the diagrams
in docs/architecture.md are made from it or tested against it: `test_law.py`, `test_statements.py`,
`test_guard.py` and `test_store_model.py` fail where one of them says something else.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

BEGIN: Final = "(new)"
"""There is no row yet."""
GONE: Final = "(gone)"
"""There is no row any more."""


class State(NamedTuple):
    """What has to be there when a request has this status, and must be missing when it has not."""

    started: bool  # an attempt was begun: `attempt` is 1 or more, and `started_at` is there
    finished: bool  # the end: `response` and `finished_at` are there
    error_code: bool
    session: bool  # a row in `sessions` with the request's id


class Step(NamedTuple):
    """One step of a request from one status to the next."""

    before: str
    after: str
    attempts: int  # how many attempts it begins: the row's `attempt` grows by so many
    statement: str  # a name in worker/postgres/sql/queries.sql
    function: str  # the method that runs this statement
    why: str


class LeaseStep(NamedTuple):
    """One step of a lease."""

    before: str
    after: str
    by: str  # HOLDER, ANYBODY or TIME
    statement: str
    function: str
    why: str


STATES: Final = {
    "pending": State(started=False, finished=False, error_code=False, session=False),
    "processing": State(started=True, finished=False, error_code=False, session=False),
    "completed": State(started=True, finished=True, error_code=False, session=True),
    "failed": State(started=True, finished=True, error_code=True, session=False),
}

FINISHED: Final = frozenset(status for status, has in STATES.items() if has.finished)
WITH_SESSION: Final = frozenset(status for status, has in STATES.items() if has.session)

# Postgres refuses every other change of status or attempt, also one that is typed by hand. A statement that
# takes two steps writes the row once, and the history has both.
# fmt: off
REQUEST: Final = (
    #    from          to           attempts  statement          method
    Step(BEGIN,        "pending",    0,       "accept",          "Store.accept",
         "a request that is new gets its row"),
    Step("pending",    "processing", 1,       "accept",          "Store.accept",
         "and is claimed in the same statement, by the worker that has received it"),
    Step(BEGIN,        "pending",    0,       "wait",            "WaitingLine.put",
         "a request that may not begin yet gets its row, and waits in the line of its organisation"),
    Step("pending",    "processing", 1,       "claim_waiting",   "WaitingLine.take",
         "its turn has come: a worker claims it"),
    Step("pending",    "processing", 1,       "take_due",        "PutOffLine.take",
         "its deadline has passed while it waited: nothing goes from pending to failed directly"),
    Step("pending",    "processing", 1,       "begin_pending",   "Store.begin_pending",
         "one that waits is cancelled"),
    Step("pending",    "processing", 1,       "claim_again",     "Store.claim_again",
         "one that nobody has claimed is found under a lease that was taken over"),
    Step("processing", "processing", 1,       "claim_again",     "Store.claim_again",
         "the attempt has failed, or its worker went silent: the next one begins"),
    Step("processing", "completed",  0,       "finish",          "Store.finish",
         "the session is made: verdict, response and session are stored together"),
    Step("processing", "failed",     0,       "finish",          "Store.finish",
         "there is no session: refused, rejected, too late, cancelled, or attempts exhausted"),
    Step("completed",  GONE,         0,       "retire_requests", "Retention.run_once",
         "old enough to be deleted with its history; its session stays"),
    Step("failed",     GONE,         0,       "retire_requests", "Retention.run_once",
         "old enough to be deleted with its history"),
)
# fmt: on

NEVER_CHANGE: Final = ("request_id", "session_id", "fingerprint", "received_at")
"""The columns of a request that keep the value which they were inserted with."""

CHANGE_WHEN_FINISHED: Final = (
    "published_at",
    "lease",
    "due_at",
    "answer_at",
    "answer_way",
    "undelivered",
    "undelivered_at",
)
"""The columns that may still change when a request is finished: they say where its response is."""

HELD: Final = "held"
"""A worker has it, and its time is not up."""
RUN_OUT: Final = "run out"
"""A worker has it, and its time is up."""
FREE: Final = "free"
"""No worker has it. What it holds goes on with the same attempt."""

HOLDER: Final = "its holder"
ANYBODY: Final = "any worker"
TIME: Final = "time"

# No step is taken against its holder, but for the last two, which are for leases whose time is up.
# fmt: off
LEASE: Final = (
    #         from     to       by       statement    method
    LeaseStep(BEGIN,   HELD,    HOLDER,  "accept",    "Store.accept",
              "taken: a batch of deliveries begins"),
    LeaseStep(BEGIN,   HELD,    HOLDER,  "take_due",  "PutOffLine.take",
              "taken: put-off requests are due"),
    LeaseStep(BEGIN,   HELD,    HOLDER,  "claim_waiting", "WaitingLine.take",
              "taken: it is the turn of waiting requests"),
    LeaseStep(HELD,    HELD,    HOLDER,  "accept",    "Store.accept",
              "kept: the other half of its batch, or the same statement after a lost answer"),
    LeaseStep(HELD,    HELD,    HOLDER,  "take_due",  "PutOffLine.take",
              "kept: the same statement after a lost answer"),
    LeaseStep(HELD,    HELD,    HOLDER,  "claim_waiting", "WaitingLine.take",
              "kept: the same statement after a lost answer"),
    LeaseStep(HELD,    HELD,    HOLDER,  "heartbeat", "Leases.heartbeat",
              "kept: its worker lives, and is busy with it"),
    LeaseStep(HELD,    RUN_OUT, TIME,    "",          "Leases.abandon",
              "run out: its worker died, lost Postgres, or has given its batch up and keeps it no longer"),
    LeaseStep(RUN_OUT, HELD,    HOLDER,  "accept",    "Store.accept",
              "kept all the same: nobody has taken it over"),
    LeaseStep(RUN_OUT, HELD,    HOLDER,  "take_due",  "PutOffLine.take",
              "kept all the same"),
    LeaseStep(RUN_OUT, HELD,    HOLDER,  "claim_waiting", "WaitingLine.take",
              "kept all the same"),
    LeaseStep(RUN_OUT, HELD,    HOLDER,  "heartbeat", "Leases.heartbeat",
              "kept all the same"),
    LeaseStep(HELD,    GONE,    HOLDER,  "accept",    "Store.accept",
              "done: each of its requests is answered or put off. Noted with the next batch"),
    LeaseStep(HELD,    GONE,    HOLDER,  "note",      "Leases.flush_notes",
              "done: noted when no batch follows soon"),
    LeaseStep(RUN_OUT, GONE,    HOLDER,  "accept",    "Store.accept",
              "done, late"),
    LeaseStep(RUN_OUT, GONE,    HOLDER,  "note",      "Leases.flush_notes",
              "done, late"),
    LeaseStep(HELD,    FREE,    HOLDER,  "sign_off",  "Leases.sign_off",
              "signed off: its worker stops before its batch is done"),
    LeaseStep(RUN_OUT, FREE,    HOLDER,  "sign_off",  "Leases.sign_off",
              "signed off, late"),
    LeaseStep(FREE,    HELD,    ANYBODY, "take_over", "Leases.take_over",
              "taken over from a worker that has stopped: the attempts go on"),
    LeaseStep(RUN_OUT, HELD,    ANYBODY, "take_over", "Leases.take_over",
              "taken over from a silent worker: its requests get a new attempt"),
)
# fmt: on

Place = tuple[str, int]
"""Where a request stands: its status and its attempt."""


def steps_from(status: str, statement: str | None = None) -> list[Step]:
    """Return the steps that lead on from here: all of them, or those that one statement takes."""
    return [step for step in REQUEST if step.before == status and statement in (None, step.statement)]


def beginnings() -> set[Place]:
    """Return where a request may stand when its row is inserted: one statement may take two steps at once."""
    found: set[Place] = set()
    for first in steps_from(BEGIN):
        status, attempt = first.after, first.attempts
        found.add((status, attempt))
        for step in steps_from(status, first.statement):
            found.add((step.after, attempt + step.attempts))
    return found


NOBODY: Final = "nobody"
THE_SAME: Final = "the same"
ANOTHER: Final = "another"


class Entry(NamedTuple):
    """One row of a request's history, beside the row before."""

    status: str
    attempts: int  # how many it adds
    by: str  # the worker: NOBODY, THE_SAME as of the row before, or ANOTHER


_ANY_WORKER: Final = (THE_SAME, ANOTHER)
_ENDS: Final = {Entry(status, 0, by): GONE for status in FINISHED for by in _ANY_WORKER}

# The language of the histories, as an automaton: where each entry leads. What the steps alone do not say: a
# request that was not put in line was claimed by whoever inserted it, in that statement. `test_model.py`
# compares it with all histories that the model can have.
HISTORIES: Final[dict[str, dict[Entry, str]]] = {
    BEGIN: {Entry("pending", 0, ANOTHER): "accepted", Entry("pending", 0, NOBODY): "waiting"},
    "accepted": {Entry("processing", 1, THE_SAME): "begun"},
    "waiting": {Entry("processing", 1, ANOTHER): "begun"},
    "begun": {**{Entry("processing", 1, by): "begun" for by in _ANY_WORKER}, **_ENDS},
    GONE: {},
}


BETWEEN: Final = frozenset({BEGIN, "accepted"})
"""The places at which no history ends: what follows is written by the same statement."""


def is_history(entries: Iterable[Entry]) -> bool:
    """Return whether a request can have this history, so far."""
    place = BEGIN
    for entry in entries:
        if entry not in HISTORIES[place]:
            return False
        place = HISTORIES[place][entry]
    return place not in BETWEEN


def is_legal(history: Sequence[Place]) -> bool:
    """Return whether a request that has this history has taken legal steps only, from its beginning on."""
    status, attempt = BEGIN, 0
    for place in history:
        if place not in [(step.after, attempt + step.attempts) for step in steps_from(status)]:
            return False
        status, attempt = place
    return status != BEGIN
