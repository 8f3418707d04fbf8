"""The frame of every action: a preview with counts, a form that wants a reason, the change, and its line in
the audit.

An action is two functions. `preview` looks, changes nothing, and says in lines what would be done;
`carry_out` does it through an operation that writes the audit with `desk.who.signature`. `routes_of` makes
its rows for ROUTES: GET is the preview, POST the change, which needs a reason and the token against forgery,
and goes on to the page that shows what came of it (303), where the audit's line is linked. What is meant is
the address, as ever: `/requests/actions/retry?org=org-7&status=failed`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.console.access import Right
from worker.console.context import Desk, desk_of
from worker.console.forms import form_of, reason_of
from worker.console.problems import bad
from worker.console.render import page
from worker.console.route import GET, POST, Route
from worker.operations import audit
from worker.operations.bulk import LEAST_A_SECOND, MOST_A_SECOND

DEFAULT_RATE = 50.0


class Field(NamedTuple):
    """A field of the form, beside the reason."""

    name: str
    label: str
    kind: str = "text"  # text, number, select, textarea, checkbox, hidden
    value: str = ""  # of a checkbox: "on" if it is ticked
    choices: Sequence[tuple[str, str]] = ()  # of a select: values and what is shown
    hint: str = ""
    required: bool = False


class Preview(NamedTuple):
    """What would be done."""

    title: str  # "Retry 789 requests"
    lines: Sequence[str]  # counts, organisations, the oldest, the load: a sentence each
    fields: Sequence[Field] = ()
    nothing: str | None = None  # why there is nothing to do: there is no form then
    danger: bool = False  # it cannot be taken back
    button: str = ""  # what the button says; the action's label where it is empty
    back: str = "/"  # where «cancel» leads
    command: str | None = None  # the same on the command line


class Asked(NamedTuple):
    """A change that somebody asks for: what carries out the action gets it."""

    request: Request
    desk: Desk
    form: Mapping[str, str]
    reason: str


class Action(NamedTuple):
    """Something that an operator can do."""

    name: str  # in its address, and unique
    label: str  # on its button
    right: Right
    preview: Callable[[Request], Awaitable[Preview]]
    carry_out: Callable[[Asked], Awaitable[str]]
    """Does it, and returns the path to go on to. Raises a Problem where it was not done."""


def routes_of(base: str, action: Action) -> tuple[Route, Route]:
    """Make the rows of an action at `{base}/actions/{its name}`."""
    path = f"{base}/actions/{action.name}"

    async def show(request: Request) -> Response:
        return _page(request, action, await action.preview(request))

    async def change(request: Request) -> Response:
        form = await form_of(request)
        desk = desk_of(request)
        asked = Asked(request, desk, form, reason_of(form))
        return await carried_out(desk, lambda: action.carry_out(asked))

    return (
        Route(path, GET, action.right, show, action.name),
        Route(path, POST, action.right, change, f"do_{action.name}"),
    )


async def carried_out(desk: Desk, change: Callable[[], Awaitable[str]]) -> Response:
    """Make a change, and lead to the page that shows what came of it, with its line in the audit."""
    before = await _last_line(desk)
    where = await change()
    line = await _last_line(desk)
    return RedirectResponse(_with_line(where, line if line != before else None), HTTPStatus.SEE_OTHER)


async def _last_line(desk: Desk) -> int | None:
    """Return the number of the last line of the audit that is theirs."""
    lines = await audit.entries(desk.database, who=desk.who.signature, most=1)
    return lines[0].number if lines else None


def rate_field() -> Field:
    """Return the field that says how many in a second."""
    return Field("rate", "at most so many in a second", "number", f"{DEFAULT_RATE:g}")


def rate_of(form: Mapping[str, str]) -> float:
    """Read that field; raise a problem."""
    text = form.get("rate", "").strip().removesuffix("/s") or f"{DEFAULT_RATE}"
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not LEAST_A_SECOND <= rate <= MOST_A_SECOND:
        raise bad(f"rate: must be {LEAST_A_SECOND:g}/s to {MOST_A_SECOND:g}/s. Nothing was done.")
    return rate


def _page(request: Request, action: Action, preview: Preview) -> Response:
    return page(request, "action.html", action=action, preview=preview)


def _with_line(where: str, line: int | None) -> str:
    if line is None:
        return where
    return f"{where}{'&' if urlsplit(where).query else '?'}{urlencode({'done': line})}"
