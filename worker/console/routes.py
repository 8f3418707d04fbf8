"""The one table of what is served: paths, methods, and the right that each needs.

Everything is a row here. The app is built from it, and so are the tests that try each row by each role.
"""

from worker.console import files
from worker.console.access import Right
from worker.console.acting import routes_of
from worker.console.health import HEALTH
from worker.console.pages import login, overview, pausing, search, selection
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
    Route("/selections/{id}", GET, Right.VIEW, selection.selection, "selection"),
)
"""All of the console, in the order of its navigation."""
