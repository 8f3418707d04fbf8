"""The one table of what is served: paths, methods, and the right that each needs.

Everything is a row here. The app is built from it, and so are the tests that try each row by each role.
"""

from worker.console import files
from worker.console.access import Right
from worker.console.acting import routes_of
from worker.console.health import HEALTH
from worker.console.pages import (
    actions,
    failures,
    login,
    overview,
    pausing,
    request,
    requests,
    search,
    selections,
)
from worker.console.route import GET, POST, Route

__all__ = ["GET", "POST", "ROUTES", "Route"]

ROUTES: tuple[Route, ...] = (
    *HEALTH,
    Route("/static/{version}/{file}", GET, None, files.static, "static"),
    Route("/login", GET, None, login.login, "login"),
    Route("/login", POST, None, login.log_in, "log_in"),
    Route("/logout", POST, Right.VIEW, login.log_out, "log_out"),
    Route("/", GET, Right.VIEW, overview.overview, "overview"),
    *routes_of("", pausing.PAUSE),
    *routes_of("", pausing.RESUME),
    Route("/search", GET, Right.VIEW, search.search, "search"),
    Route("/requests", GET, Right.VIEW, requests.requests, "requests"),
    Route("/requests/export", GET, Right.VIEW, requests.export, "export_requests"),
    *routes_of("/requests", actions.RETRY),
    *routes_of("/requests", actions.RESEND),
    *routes_of("/requests", actions.CANCEL),
    Route("/requests/{id}", GET, Right.VIEW, request.request, "request"),
    Route("/failures", GET, Right.VIEW, failures.failures, "failures"),
    Route("/selections", GET, Right.VIEW, selections.selections, "selections"),
    Route("/selections/{id}", GET, Right.VIEW, selections.selection, "selection"),
    Route("/selections/{id}", POST, Right.OPERATE, selections.steer, "steer_selection"),
)
"""All of the console, in the order of its navigation."""
