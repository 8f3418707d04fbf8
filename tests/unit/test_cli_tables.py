"""Output for people fits a terminal of 80 columns, and breaks no id, time or word."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console, RenderableType
from rich.progress import Progress

from schemas import CreateSessionResponse
from worker.cli import looking, record_tables
from worker.cli.bulk.progress import progress_bar, show_totals
from worker.cli.bulk.sending import Totals
from worker.cli.commands import (
    audit,
    blockers,
    demo,
    limits,
    orgs,
    pause,
    queues,
    selections,
    verify,
    workers,
)  # fmt: skip
from worker.cli.commands.keys import report as keys_report
from worker.cli.commands.requests import explain
from worker.cli.commands.requests import list as list_command
from worker.cli.commands.retention import sessions as retention_sessions
from worker.cli.commands.retention import status as retention_status
from worker.cli.demo.scenes import Seen
from worker.cli.sealed_rows import Counted
from worker.operations.audit import Entry
from worker.operations.blockers import Blocker
from worker.operations.explaining import Beside, explained
from worker.operations.keys import KeysOfWorker, SealedRows
from worker.operations.listing import Listed
from worker.operations.old_sessions import Month
from worker.operations.overview import LiveWorker, Org, QueueDepth
from worker.operations.promises import Violation
from worker.operations.record import Record
from worker.operations.retention import Kept, Old
from worker.operations.search import Match
from worker.operations.selections import Selection
from worker.operations.steering import LimitOnRecord, PauseOnRecord
from worker.rules import Limit, Pause

ID = UUID("01a21313-193a-7ec2-957d-c1cec8248b24")
SESSION = "ts_261125_1os3m392s538n"
AT = datetime(2026, 11, 25, 14, 19, 8, 477000, tzinfo=UTC)
CODE = "request_id_conflict"
TRACES = "https://traces.example/{trace_id}"
CONFLICT = f"another request with the id {ID} was accepted before: use a new id for new content"


def response(error: str | None = None, code: str = "") -> CreateSessionResponse:
    return CreateSessionResponse.model_validate(
        {
            "request_id": str(ID), "status": "failed" if error else "completed",
            "payload": {"session_id": SESSION, "created_at": AT.isoformat()}, "error": error,
            "metadata": {"code": code} if code else {}, "timestamp": AT.isoformat(),
        }
    )  # fmt: skip


FOUND: Record = {
    "request": {
        "request_id": ID, "status": "processing", "attempt": 2, "org_id": "org-1", "user_id": None,
        "session_id": SESSION, "error_code": None, "reply_to": "amq.gen-Sw-XWJr9jw17b-_VLRvTZw",
        "correlation_id": str(ID), "deadline_at": AT, "received_at": AT, "finished_at": AT,
        "published_at": None, "undelivered": "unroutable", "undelivered_at": AT, "answer_at": None,
        "worker": ID, "lease_worker": ID, "waits_for": None, "waits_until": None,
        "traceparent": f"00-{ID.hex}-00f067aa0ba902b7-01",
    },
    "history": [
        {"at": AT, "status": step, "attempt": 1, "worker": ID} for step in ("pending", "processing")
    ],
    "attempts": [
        {
            "at": AT, "attempt": 1, "kind": "raised", "error_type": "builtins.ConnectionResetError",
            "reason": "the handler raised ConnectionResetError: " + "it was not there " * 9,
            "place": "/srv/handlers/rooms_of_a_long_name/creation.py:117 create_the_room", "worker": ID,
        },
        {"at": AT, "attempt": 2, "kind": "worker_lost", "reason": None, "place": None, "worker": None},
    ],
    "session": None,
    "response": response(CONFLICT, "request_id_conflict").model_dump(mode="json"),
}  # fmt: skip
BESIDE = Beside(
    places={ID: "worker-7f9c5d:12345 rooms.creation:create@3f2c1ab"},
    retries={
        "refused": False, "retry_of": ID, "retry_selection": "7f3a90c1", "retry_by": "ann@operations.example",
        "retried_as": ID, "retried_at": AT, "retried_selection": "7f3a90c1", "retried_by": None,
    },
    dead_letters=[{"id": ID, "state": "kept", "reason": "it is no JSON " * 9, "died_at": AT}],
)  # fmt: skip
SEEN = [
    Seen("an assistant both ways: the id wins", "completed", "completed", True, 0.02, ID, response()),
    Seen("its id with other content", CODE, CODE, True, 1.2, ID, response(CONFLICT, CODE)),
    Seen("its id with other content", "completed", CODE, False, 1.2, ID, response(CONFLICT, CODE)),
    Seen("no reply queue: the response queue", "completed", "no response", False, 1.2, ID, None),
]
LISTED = Listed(
    request_id=ID, org_id="an-organisation" * 3, user_id=None, status="processing", code=CODE, attempt=5,
    reason="no room", received_at=AT, finished_at=AT, took_seconds=7.9, response="unpublishable",
    session_id=SESSION, correlation_id=None, reply_to=None, worker=None, build=None,
)  # fmt: skip
WORKER = LiveWorker(
    id=ID, host="worker-7f9c5d", pid=12345, version="0.8.0", handler="rooms.creation:create", build="3f2c1ab",
    started_at=AT, silent_seconds=47, lives=False, paused=False, in_hand=512,
)  # fmt: skip
DEED = Entry(
    number=17, at=AT, who="ann@operations.example", role="sw_worker", action="requests.retry (continued)",
    reason="rooms are back since noon", touched=100_000,
    about={"selection": "7f3a90c1", "chosen_by": {"org": "an-org", "status": "failed"}, "org": "an-org"},
)  # fmt: skip
SELECTION = Selection(
    id="7f3a90c1", action="resend", chosen_by={}, options={}, who="ann@ops.example",
    reason="the queue is back", rate=50, made_at=AT, state="prepared", ended_at=None, chosen=100_000, done=0,
    skipped=0, failed=0, alive=False,
)  # fmt: skip
BLOCKER = Blocker(
    pid=4_194_303, user="a_role_of_a_backup_service", application="pg_dump of the night", since=AT,
    state="idle in transaction", statement="lock table requests, sessions in access exclusive mode; …",
    relations=("recorded_transitions", "requests_by_correlation", "sessions"), waiting=1_000,
    longest_seconds=7200.0,
)  # fmt: skip
SEALED = Counted(
    rows=[SealedRows("k" * 32, "unfinished", 10_000_000, AT)], here=("k2",),
    workers=[KeysOfWorker("vm:1", ("k2",))] * 1_000, retired=[],
)  # fmt: skip
TABLES: dict[str, RenderableType] = {
    "blockers": blockers.render([BLOCKER]),
    "keys": keys_report.table_of(SEALED),
    "retention": retention_status.table_of(
        [Kept("recorded_transitions", 30_000_000, 999_999_999_999, 999_999_999, AT, 8_640_000.0, 2.6e10)]
    ),
    "audit": audit.table_of([DEED]),
    "selections": selections.table_of([SELECTION]),
    "list": list_command.table_of([LISTED], AT),
    "wide list": list_command.wide_table_of([LISTED], AT),
    "explain": explain.table_of(explained(FOUND, BESIDE, "prod.responses")),
    "orgs": orgs.table_of([Org("an-organisation" * 3, 9, 10, 1_000_000, 3_000, 10_000, 700, 0.0124, 1200)]),
    "workers": workers.table_of([WORKER], AT),
    "queues": queues.table_of([QueueDepth("prod.requests" * 4, 1_000_000, 17)]),
    "status": record_tables.render(FOUND, TRACES),
    "pauses": pause.table_of(
        [
            PauseOnRecord(Pause("worker", str(ID), "the reason is this " * 5, "someone@host", AT, AT), None),
            PauseOnRecord(Pause("org", "an-org" * 42, "a reason", "someone@a-host", AT, None), None),
        ]
    ),
    "limits": limits.table_of(
        [
            LimitOnRecord(
                Limit("all", "", 100, 0.05, 1_000),
                "setting",
                None,
                "WORKER_LIMITS",
                AT,
                False,
                None,
                None,
                None,
            ),
            LimitOnRecord(
                Limit("org", str(ID), 2**31 - 1, 1e6, 10, 0.125),
                "command",
                "too many errors there " * 3,
                "someone@a-host",
                AT,
                True,
                100_000,
                1_000,
                0.3,
            ),
        ]
    ),
    "matches": looking.table_of([Match(ID, "processing", "an-organisation" * 3, SESSION, "c", AT)]),
    "demo": demo.scenes_table(SEEN),
    "verify": verify.table_of(
        [Violation("the response is true", str(ID), f"completed, with the session {SESSION}")]
    ),
}


_WITHOUT_ID = ("orgs", "workers", "queues", "audit", "selections", "blockers", "keys", "retention", "list")


def shown(what: RenderableType, columns: int) -> list[str]:
    console = Console(width=columns, highlight=False, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_and_breaks_no_word(name: str) -> None:
    narrow, wide = shown(TABLES[name], 80), shown(TABLES[name], 400)

    assert [line for line in narrow if len(line) > 80] == []
    known = {word for line in wide for word in line.split() if not word.startswith("─")}
    broken = {word for line in narrow for word in line.split() if not word.startswith("─")} - known
    assert {word for word in broken if not word.endswith("…")} == set()
    assert str(ID) in "\n".join(narrow) or name in _WITHOUT_ID


def test_a_list_of_requests_has_the_organisation_and_the_code_in_80_columns() -> None:
    failed = LISTED._replace(status="failed", code=CODE, org_id="org-701-x", response="confirmed")

    narrow = "\n".join(shown(list_command.table_of([failed], datetime(2027, 1, 1, tzinfo=UTC)), 80))

    for whole in (str(ID)[:18], CODE, "org-701-x", "2026-11-25", "confirmed"):
        assert whole in narrow


def test_what_became_of_many_fits(capsys: pytest.CaptureFixture[str]) -> None:
    totals = Totals(before=500_000, began=0, ended=123)
    totals.outcomes.update({"completed": 1_000_000, "invalid_request": 17})
    totals.seconds.update({-100: 1_000_000})

    show_totals(totals, Console(width=80, force_terminal=True, color_system=None))

    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "1000017 requests (500000 of them done before)" in out


def test_the_progress_fits_one_line() -> None:
    console = Console(width=80, force_terminal=True, color_system=None)
    bar: Progress = progress_bar(console)
    bar.add_task(
        "requests", total=1_000_000, completed=500_000, rate=12345.0,
        failed="failed 100000 (request_id_conflict, …)",
    )  # fmt: skip

    (line,) = shown(bar.get_renderable(), 80)

    assert len(line) <= 80
    assert "500000/1000000" in line
    assert "12345/s" in line
    assert "failed 100000 (request_id_conflict, …)" in line


def test_which_months_of_sessions_go_and_what_keeps_the_others_is_said() -> None:
    months = [Month("sessions_2026_06", 20_000_000, None), Month("sessions_2026_07", 7, "on record")]

    old, before = Old(20_000_003, 1, 9, months=1), datetime(2026, 10, 1, tzinfo=UTC)
    told = retention_sessions.in_words(old, before, months).splitlines()

    assert told[0].startswith(
        "about 20,000,003 sessions ended before 2026-10-01 00:00 and can go; 1 more stay"
    )
    assert told[1:] == [
        "sessions_2026_06, about 20,000,000 sessions, goes as a whole",
        "sessions_2026_07, about 7 sessions, stays: requests of it are on record",
    ]
