"""The pages of selections: what somebody chose to have done, how far that is, and what came of it."""

import re
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from worker.console.acting import carried_out
from worker.console.context import Desk, desk_of
from worker.console.forms import form_of, reason_of
from worker.console.problems import bad, conflict, not_found
from worker.console.render import page
from worker.operations import audit
from worker.operations import selections as operation
from worker.operations.selection_words import would_be
from worker.operations.selections import Result, Selection

_LOOK_SECONDS, _LATER_SECONDS = 1, 5
_STOP_ASKING = 286  # what htmx takes for the end of asking again and again
_FEW = 5_000
_FINISHED = ("completed", "failed")
_ID = re.compile(r"[0-9a-f]{8}")


async def selections(request: Request) -> Response:
    """Show the newest selections."""
    return page(request, "selections.html", found=await operation.selections(desk_of(request).database))


async def selection(request: Request) -> Response:
    """Show one: what is in it, how far it is, and what can be done with it now."""
    desk = desk_of(request)
    one = await _the_one(desk, request)
    results = await _results(desk, one)
    return page(
        request, "selection.html",
        one=one, lines=await _lines(desk, one), outcomes=await operation.outcomes(desk.database, one.id),
        results=results, entries=await audit.of_selection(desk.database, one.id),
        trouble=desk.works.trouble(one.id),
        command=f"session-worker selections {'show' if one.alive else 'continue'} {one.id}",
        refresh=(again := _refresh(one, results)),
        status=HTTPStatus.OK if again or "hx-request" not in request.headers else _STOP_ASKING,
    )  # fmt: skip


async def _lines(desk: Desk, one: Selection) -> list[str]:
    """Say what would be done, while nothing is."""
    if one.state != "prepared":
        return []
    return would_be(one.action, one.options, one.rate, await operation.preview(desk.database, one.id))


async def _results(desk: Desk, one: Selection) -> list[Result]:
    """Look how its requests stand now; of a large one not at each look, as long as it is at work."""
    if one.action == "resend" or (one.alive and one.done > _FEW):
        return []
    return await operation.results(desk.database, one.id)


def _refresh(one: Selection, results: list[Result]) -> int | None:
    """Return after how many seconds something is different, if anything may be."""
    if one.alive:
        return _LOOK_SECONDS
    waits = any(result.status not in _FINISHED for result in results)
    return _LATER_SECONDS if waits or one.state == "running" else None


async def steer(request: Request) -> Response:
    """Begin with a selection, go on with what is left of it, stop it, or forget it. Who is second is told.

    It has the address of the page, so that whoever has to log in first comes back to it.
    """
    desk, form = desk_of(request), await form_of(request)
    one, reason = await _the_one(desk, request), reason_of(form)

    async def change() -> str:
        match form.get("do"):
            case "continue":
                await desk.works.begin(one, by=desk.who.signature, reason=reason)
            case "stop":
                await stop(desk, one, reason)
            case "drop":
                await drop(desk, one)
                return str(request.app.url_path_for("selections"))
            case _:
                raise bad("The form is not one of this console. Nothing was done.")
        return str(request.app.url_path_for("selection", id=one.id))

    return await carried_out(desk, change)


async def stop(desk: Desk, one: Selection, reason: str) -> None:
    """Stop the work on a selection; raise a 409 where there is none."""
    if not await operation.stop(desk.database, one.id, by=desk.who.signature, reason=reason):
        now = await found(desk, one.id)
        raise conflict(f"Nobody works on selection {now.id}: it is {now.state}. Nothing was done.")


async def drop(desk: Desk, one: Selection) -> None:
    """Forget a selection that was only looked at; raise a 409 for another one."""
    await operation.drop(desk.database, one.id)
    if await operation.selections(desk.database, one.id):
        raise conflict(f"Selection {one.id} has begun, and stays on record. Nothing was done.")


async def _the_one(desk: Desk, request: Request) -> Selection:
    return await found(desk, request.path_params["id"])


async def found(desk: Desk, key: str) -> Selection:
    """Find a selection, or raise a 404."""
    one = await operation.selections(desk.database, key) if _ID.fullmatch(key) else []
    if not one:
        raise not_found(f"There is no selection {key[:100]}: it was dropped, or deleted as old.")
    return one[0]
