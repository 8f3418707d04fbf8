"""The login page, and nothing else, is served to whoever is not known."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.console.addresses import is_ours
from worker.console.context import desk_of
from worker.console.forms import form_of
from worker.console.problems import Problem
from worker.console.render import page


async def login(request: Request) -> Response:
    """Show the field for a token."""
    return _page(request, "Your session has ended." if "ended" in request.query_params else None)


async def log_in(request: Request) -> Response:
    """Begin a session for whoever has a token."""
    form, desk = await form_of(request), desk_of(request)
    try:
        cookie = desk.doorkeeper.log_in(request, form.get("token", ""), desk.arrived.timestamp())
    except Problem as problem:
        response = _page(request, problem.detail, problem.status)
        response.headers["Retry-After"] = str(problem.retry_after)
        return response
    if cookie is None:
        return _page(request, "Nobody has this token.", HTTPStatus.FORBIDDEN)
    response = RedirectResponse(_next(request), HTTPStatus.SEE_OTHER)
    desk.doorkeeper.set_cookie(request, response, cookie)
    return response


async def log_out(request: Request) -> Response:
    """End the session."""
    desk = desk_of(request)
    desk.doorkeeper.log_out(request)
    response = RedirectResponse(request.app.url_path_for("login"), HTTPStatus.SEE_OTHER)
    desk.doorkeeper.set_cookie(request, response, None)
    return response


def _page(request: Request, said: str | None, status: int = HTTPStatus.OK) -> Response:
    return page(request, "login.html", status=status, said=said, next=_next(request))


def _next(request: Request) -> str:
    """Return where to go on after the login: an address of this console, whatever the query says."""
    where = request.query_params.get("next", "/")
    return where if is_ours(where) else "/"
