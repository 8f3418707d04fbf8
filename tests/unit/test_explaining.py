"""An explanation says what happens next, and which command goes on where nothing does by itself."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from worker.operations.explaining import Beside, explained
from worker.operations.record import Record
from worker.rules import Pause

ID, OTHER = (UUID(f"01a21313-193a-7ec2-957d-c1cec8248b2{number}") for number in (4, 5))
AT = datetime(2026, 11, 25, 14, 19, 8, tzinfo=UTC)
BEGUN: dict[str, Any] = {
    "request_id": ID, "status": "processing", "attempt": 1, "org_id": "org 7", "user_id": None,
    "session_id": "ts_1", "error_code": None, "reply_to": "acme.replies", "correlation_id": None,
    "deadline_at": None, "received_at": AT, "due_at": None, "finished_at": None, "published_at": None,
    "undelivered": None, "undelivered_at": None, "answer_at": None, "lease_until": None, "lease_worker": None,
    "waits_for": None, "waits_until": None, "pause_reason": None, "paused_by": None,
}  # fmt: skip
DONE = {"status": "completed", "finished_at": AT, "published_at": AT}
FAILED = {**DONE, "status": "failed", "error_code": "attempts_exhausted"}
LOST = {**DONE, "published_at": None, "undelivered": "unroutable", "undelivered_at": AT}
PAUSED = {
    "status": "pending",
    "waits_for": "paused",
    "pause_reason": "errors",
    "paused_by": "ann",
    "due_at": AT,
}
ALL = Pause("all", "", "errors", "ann", AT, None)
OF_ORG, OF_OTHER = ALL._replace(scope="org", name="org 7"), ALL._replace(scope="org", name="b")
RETRIED = {
    "refused": False, "retry_of": None, "retried_as": OTHER, "retried_at": AT, "retried_by": "ann",
    "retried_selection": "7f3a90c1",
}  # fmt: skip
DO = "session-worker "


def told(beside: Beside, **changes: Any) -> Any:
    record = Record(
        request={**BEGUN, **changes}, history=[], attempts=[], session=None, response={"error": "no room"}
    )
    return explained(record, beside, "prod.responses")


@pytest.mark.parametrize(
    ("changes", "beside", "by_itself", "command"),
    [
        (DONE, Beside(), True, None),
        (FAILED, Beside(), True, f"{DO}requests retry {ID}"),
        (FAILED, Beside(retries={"refused": True}), True, None),
        ({**FAILED, "error_code": "cancelled"}, Beside(), True, None),
        (FAILED, Beside(retries=RETRIED), True, f"{DO}requests explain {OTHER}"),
        (LOST, Beside(), False, f"{DO}requests resend {ID} --to prod.responses"),
        ({**LOST, "undelivered": "unpublishable"}, Beside(), False,
         f"{DO}requests resend {ID} --to prod.responses"),
        ({**LOST, "undelivered": "refused"}, Beside(), False, f"{DO}requests resend {ID}"),
        ({**LOST, "reply_to": None}, Beside(), False, f"{DO}requests resend {ID}"),
        ({**LOST, "answer_at": AT}, Beside(), True, None),
        ({**DONE, "published_at": None}, Beside(), True, None),
        (PAUSED, Beside(pauses=[OF_ORG, ALL]), True, f"{DO}resume"),
        (PAUSED, Beside(pauses=[OF_OTHER, OF_ORG]), True, f"{DO}resume --org 'org 7'"),
        (PAUSED, Beside(pauses=[OF_OTHER]), True, None),
        ({"waits_for": "rate", "due_at": AT}, Beside(), True, None),
        ({"due_at": AT}, Beside(), True, None),
        ({"lease_until": AT}, Beside(), True, None),
        ({}, Beside(), False, f'{DO}requests cancel {ID} --because "nothing holds it"'),
    ],
)  # fmt: skip
def test_the_command_that_goes_on_is_named(
    changes: dict[str, Any], beside: Beside, by_itself: bool, command: str | None
) -> None:
    found = told(beside, **changes)

    assert (found.by_itself, found.command) == (by_itself, command)
    assert bool(found.waits) == ("waits_for" in changes)


@pytest.mark.parametrize(
    ("fraction", "text", "says"),
    [
        (0.4, "warming", "40%, warming (3 s ago); "),
        (None, "warming", "warming (3 s ago); "),
        (0.0, "", "0% (3 s ago); "),
        (None, None, ""),
    ],
)
def test_a_call_that_takes_long_is_told_with_what_it_says(
    fraction: float | None, text: str | None, says: str
) -> None:
    call = {
        "attempt": 2, "seconds": 1042.4, "fraction": fraction, "text": text, "told_seconds": 3.2,
        "silent_seconds": 4.1,
    }  # fmt: skip

    assert told(Beside(call=call), lease_until=AT).call == (
        f"attempt 2 has been at work for 1,042 s: {says}the last sign of life of its worker was 4 s ago"
    )
    assert told(Beside()).call is None


def test_what_stands_beside_the_record_has_its_place_in_the_time_line() -> None:
    earlier = AT.replace(hour=9)
    letter = {"id": OTHER, "state": "dropped", "reason": "no JSON", "died_at": earlier}
    retries = {**RETRIED, "retry_of": OTHER, "retry_by": None, "retry_selection": "00000001"}

    events = told(Beside(retries=retries, dead_letters=[letter]), **FAILED).events

    assert events[0].what == "dead letter"
    said = {event.what: event.text for event in events}
    assert said["dead letter"] == f"{OTHER} has its id (dropped): no JSON"
    assert said["retry"] == f"it is the retry of {OTHER}, selection 00000001"
    assert said["retried"] == f"as {OTHER}, selection 7f3a90c1 by ann"
    assert told(Beside(), **PAUSED).waits == "paused (errors, by ann)"
