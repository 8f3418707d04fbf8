"""Output for people fits a terminal of 80 columns, and breaks no id, time or word."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console, RenderableType
from rich.progress import Progress

from schemas import CreateSessionResponse
from worker.cli import record_tables
from worker.cli.bulk.progress import progress_bar, show_totals
from worker.cli.bulk.sending import Totals
from worker.cli.commands import demo, limits, pause, status, verify
from worker.cli.demo.scenes import Seen
from worker.operations.promises import Violation
from worker.operations.record import Record
from worker.operations.search import Match
from worker.operations.steering import LimitOnRecord, PauseOnRecord
from worker.rules import Limit, Pause

ID = UUID("01a21313-193a-7ec2-957d-c1cec8248b24")
SESSION = "ts_261125_1os3m392s538n"
AT = datetime(2026, 11, 25, 14, 19, 8, 477000, tzinfo=UTC)
CODE = "request_id_conflict"
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
SEEN = [
    Seen("an assistant both ways: the id wins", "completed", "completed", True, 0.02, ID, response()),
    Seen("its id with other content", CODE, CODE, True, 1.2, ID, response(CONFLICT, CODE)),
    Seen("its id with other content", "completed", CODE, False, 1.2, ID, response(CONFLICT, CODE)),
    Seen("no reply queue: the response queue", "completed", "no response", False, 1.2, ID, None),
]
TABLES: dict[str, RenderableType] = {
    "status": record_tables.render(FOUND),
    "matches": status.table_of([Match(ID, "processing", "an-organisation" * 3, SESSION, "c", AT)]),
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
    "demo": demo.scenes_table(SEEN),
    "verify": verify.table_of(
        [Violation("the response is true", str(ID), f"completed, with the session {SESSION}")]
    ),
}


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
    assert str(ID) in "\n".join(narrow)


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
