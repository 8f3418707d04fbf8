"""The search by any id that people have of a request, or of a dead letter."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.console.context import desk_of
from worker.console.render import page
from worker.operations import search as searching

_LONGEST = 300


async def search(request: Request) -> Response:
    """Go to the one request that has the id; where several have, or none, say so."""
    text = request.query_params.get("id", "").strip()[:_LONGEST].replace("\0", "")
    database = desk_of(request).database
    matches = await searching.by_id(database, text) if text else []
    letters = await searching.dead_letters(database, text) if text else []
    on_record = [match for match in matches if match.status is not None]
    if len(matches) == len(on_record) == 1 and not letters:
        return RedirectResponse(f"/requests/{on_record[0].request_id}", HTTPStatus.SEE_OTHER)
    if len(letters) == 1 and not matches:
        return RedirectResponse(f"/dead/{letters[0]}", HTTPStatus.SEE_OTHER)
    return page(
        request, "search.html", text=text, matches=matches, letters=letters, most=searching.MOST_FOUND,
        shortest=searching.SHORTEST,
    )  # fmt: skip
