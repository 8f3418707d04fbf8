"""The fields of addresses: the same names and the same words as the filters of the command line."""

from typing import Any, Final, get_args
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request

from worker.console.api.call import Parameter
from worker.operations.dead_letters import Grouping
from worker.operations.dead_letters import State as DeadState
from worker.operations.filters import CODES, DELIVERED, SORTS, STATES
from worker.operations.works import KINDS

TEXT: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2_000,
    "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
}
MOMENT: Final[dict[str, Any]] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,5}[smhd]$"}],
    "examples": ["2h", "2026-01-31T12:00:00Z"],
}
IDENT: Final[dict[str, Any]] = {"type": "string", "format": "uuid"}
MOST: Final = 100


def number(most: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    return {"type": "integer", "minimum": 1, "maximum": most, **more}


def choice(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


FILTERS: Final = (
    Parameter("org", TEXT, "of this organisation"),
    Parameter("user", TEXT, "of this user"),
    Parameter("status", choice(*STATES), "where they stand"),
    Parameter("code", choice(*CODES), "which failed with this code"),
    Parameter("reason", TEXT, "a part of the reason why they failed"),
    Parameter("worker", TEXT, "which this worker has had: its id, or HOST:PID"),
    Parameter("build", TEXT, "which a worker with this build of the handler has had"),
    Parameter("session", TEXT, "whose session this is"),
    Parameter("correlation", TEXT, "with this correlation id"),
    Parameter("reply_to", TEXT, "which are answered to this queue"),
    Parameter("response", choice(*DELIVERED), "where their response is"),
    Parameter("attempt", number(1_000_000), "which have had so many attempts, or more"),
    Parameter("since", MOMENT, "received then or later: a time, or how long ago"),
    Parameter("until", MOMENT, "received before: a time, or how long ago"),
)
AFTER_ID: Final = Parameter("after", IDENT, "go on behind this one; `next` has it")
LIMIT: Final = Parameter("limit", number(MOST, default=50), "so many at most")
PAGE: Final = (
    Parameter("sort", choice(*SORTS), "the last ones first, by this; by `received` where it is not given"),
    LIMIT,
    AFTER_ID,
)
DEAD_STATE: Final = Parameter("state", choice(*get_args(DeadState)), "what became of them; `kept` as a rule")
DEAD: Final = (
    Parameter("id", IDENT, "these", many=True),
    Parameter("app", TEXT, "of this application"),
    Parameter("no_app", choice("1"), "which name no application"),
    Parameter("user", TEXT, "of this user of the broker"),
    Parameter("reason", TEXT, "a part of their reason"),
    Parameter("like", IDENT, "in the same group as this one"),
    Parameter("since", MOMENT, "dead since then"),
    Parameter("until", MOMENT, "dead before"),
)
GROUPING: Final = Parameter(
    "group", choice(*get_args(Grouping)), "by what; by `reason` where it is not given"
)
KIND: Final = Parameter("kind", choice(*KINDS), "of this kind")


def next_page(request: Request, after: UUID | int | str | None) -> str | None:
    """Write the address of the page that follows; None: there is none."""
    if after is None:
        return None
    kept = [(name, text) for name, text in request.query_params.multi_items() if name != "after"]
    return f"{request.url.path}?{urlencode([*kept, ('after', str(after))])}"
