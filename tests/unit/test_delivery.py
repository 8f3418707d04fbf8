"""`status` says whether a recorded response was delivered."""

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.operations.delivery import delivery

AT = datetime(2026, 11, 25, 14, 19, 8, tzinfo=UTC)
SHOWN = "2026-11-25 14:19:08Z"
NOTHING: dict[str, Any] = dict.fromkeys(
    ("finished_at", "published_at", "undelivered", "undelivered_at", "answer_at", "reply_to")
)
FINISHED = NOTHING | {"finished_at": AT, "reply_to": "mine"}
UNDELIVERED = FINISHED | {"undelivered_at": AT}
CLOSES = "the broker closes the connection over it: its address, or its size"
WAITS = "it waits, and is sent when there is room"
AGAIN = "it is not sent again unless it is asked for again"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (NOTHING, None),
        (FINISHED | {"published_at": AT}, "confirmed by the broker"),
        (FINISHED, "not confirmed yet"),
        (FINISHED | {"answer_at": AT}, f"not confirmed yet: it is sent again at {SHOWN}"),
        (
            UNDELIVERED | {"undelivered": "unroutable"},
            f"NOT DELIVERED: the queue mine is not there ({SHOWN}); {AGAIN}",
        ),
        (
            UNDELIVERED | {"undelivered": "refused", "answer_at": AT},
            f"NOT DELIVERED: the queue mine takes no more ({SHOWN}); it is sent again at {SHOWN}",
        ),
        (
            UNDELIVERED | {"undelivered": "refused", "answer_at": AT, "reply_to": None},
            f"NOT DELIVERED: the queue of the responses takes no more ({SHOWN}); {WAITS}",
        ),
        (
            UNDELIVERED | {"undelivered": "unpublishable"},
            f"NOT DELIVERED: {CLOSES} ({SHOWN}); {AGAIN}",
        ),
    ],
)
def test_it_says_whether_why_not_and_what_next(request_: dict[str, Any], says: str | None) -> None:
    told = delivery(request_)

    assert (told and told.text) == says
