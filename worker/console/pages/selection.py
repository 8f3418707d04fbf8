"""The page of a selection: how far the work on it is, and what came of it."""

from starlette.requests import Request
from starlette.responses import Response

from worker.console.context import desk_of
from worker.console.problems import not_found
from worker.console.render import page
from worker.operations import selections

_REFRESH_SECONDS = 1


async def selection(request: Request) -> Response:
    """Show a selection."""
    database, key = desk_of(request).database, request.path_params["id"]
    found = await selections.selections(database, key)
    if not found:
        raise not_found(f"There is no selection {key[:80]}: it was deleted as old, or is of another prefix.")
    (one,) = found
    at_work = one.state == "running" and one.alive
    return page(
        request, "selection.html", refresh=_REFRESH_SECONDS if at_work else None,
        selection=one, at_work=at_work,
        outcomes=await selections.outcomes(database, key), results=await selections.results(database, key),
    )  # fmt: skip
