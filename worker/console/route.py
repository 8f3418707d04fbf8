"""A row of what is served, and how rows become routes of the app."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from starlette import routing
from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right

Endpoint = Callable[[Request], Awaitable[Response]]
Methods = tuple[str, ...]
GET: Final[Methods] = ("GET",)
POST: Final[Methods] = ("POST",)


class Route(NamedTuple):
    """Something that is served. GET changes nothing; POST changes, and carries the token against forgery."""

    path: str  # as Starlette writes it: /requests/{id}
    methods: Methods
    right: Right | None  # None: for everybody, also without a token
    endpoint: Endpoint
    name: str  # unique; `url(name, …)` in templates finds the path by it


Guard = Callable[[Route], Endpoint]


def mounted(rows: Iterable[Route], guard: Guard = lambda row: row.endpoint) -> list[routing.BaseRoute]:
    """Make the app's routes of the rows; `guard` makes of each row the endpoint that is called."""
    return [routing.Route(row.path, guard(row), methods=list(row.methods), name=row.name) for row in rows]
