"""Shows the organisations with the most requests: what waits, runs and ends, and how long it takes."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from worker.console.context import desk_of
from worker.console.reading import ago, read, whole
from worker.console.render import page
from worker.operations import overview
from worker.operations.listing import LOOKED_AT

_FRESH_SECONDS = 5.0
_MOST = 500


async def orgs(request: Request) -> Response:
    """Show those that have had the most since some time."""
    desk = desk_of(request)
    query = request.query_params
    since = read(query, "since", ago(desk.now)) or desk.now - timedelta(hours=1)
    limit = read(query, "limit", whole(_MOST)) or 50
    name = f"orgs {query.get('since', '')} {limit}"
    found = await desk.shared(name, _FRESH_SECONDS, lambda: overview.orgs(desk.database, since, limit))
    return page(request, "orgs.html", orgs=found, since=since, bound=LOOKED_AT)
