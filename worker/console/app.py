"""Puts the console together: the routes, and around them what is true of every request."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlencode, urlsplit

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.routing import Route as Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.console import topbar
from worker.console.addresses import is_ours
from worker.console.checkup import Checkup
from worker.console.context import Desk, Environment
from worker.console.doorkeeper import Doorkeeper
from worker.console.forms import form_of
from worker.console.health import Health
from worker.console.problems import Problem, lacks
from worker.console.render import page
from worker.console.route import GET, Endpoint, Route, mounted
from worker.console.routes import ROUTES
from worker.console.servers import Servers, problem_of, reaching
from worker.console.tokens import MARK
from worker.console.working import Works
from worker.operations.long_works import LongWorks
from worker.settings import Settings

_log = structlog.get_logger(__name__)
API: Final = "/api/"
_BARE: Final = ("/livez", "/readyz", "/metrics")
_TOKEN_FIELDS = re.compile(r"(?:^|[&;])(?:(?:access_|api_)?token|api_key)=", re.IGNORECASE)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Console:
    """What all requests share."""

    def __init__(self, settings: Settings, servers: Servers, health: Health) -> None:
        self.settings = settings
        self.servers = servers
        self.health = health
        self.doorkeeper = Doorkeeper(settings)
        self.works = Works(settings, servers)
        self.long_works = LongWorks(settings, servers.broker)
        self.checkup = Checkup(settings)
        self.environment = Environment(settings.environment_name, settings.environment_color)


@asynccontextmanager
async def make_app(settings: Settings, health: Health) -> AsyncIterator[ASGIApp]:
    """Make the console's app from ROUTES; yield it while it may be served. Servers may be away.

    Raises SettingsError where nobody could log in, as without WORKER_CONSOLE_TOKENS_FILE.
    """
    async with reaching(settings) as servers:
        console = Console(settings, servers, health)
        handlers = {HTTPException: _unknown, Problem: _told, Exception: _failed}
        app = Starlette(routes=mounted(ROUTES, _guarded), exception_handlers=handlers)
        app.state.console = console
        app.state.health = health
        try:
            yield _around(app)
        finally:
            await console.works.close()
            await console.long_works.close()
            await console.checkup.close()


def _guarded(row: Route) -> Endpoint:
    """Make the endpoint of a row: it is reached by those who have its right, and by forms of our own."""

    async def guarded(request: Request) -> Response:
        if row.path in _BARE:
            return await row.endpoint(request)
        console: Console = request.app.state.console
        desk, cookie = await _received(console, request)
        if row.right is not None and desk.somebody is None:
            return _to_log_in(request)
        if row.right is not None and not desk.who.may(row.right):
            raise lacks(row.right)
        if row.methods != GET:
            await _of_ours(request, desk)
        response = await _answer(row, request)
        if row.methods != GET:
            console.servers.forget()
            console.checkup.soon()
        if cookie is not None and "set-cookie" not in response.headers:
            console.doorkeeper.set_cookie(request, response, cookie)
        return response

    return guarded


async def _answer(row: Route, request: Request) -> Response:
    """Call the endpoint; an error of a server becomes the problem that it is for people."""
    try:
        return await row.endpoint(request)
    except Exception as error:
        if (problem := problem_of(error)) in (None, error):
            raise
        raise problem from error


async def _received(console: Console, request: Request) -> tuple[Desk, str | None]:
    """Make the desk of a request, with whoever asks, and the cookie by which their session goes on."""
    desk = Desk(
        settings=console.settings, servers=console.servers, works=console.works,
        long_works=console.long_works, checkup=console.checkup, arrived=(now := _now()), now=now,
        environment=console.environment, doorkeeper=console.doorkeeper, somebody=None,
    )  # fmt: skip
    request.state.desk = desk  # for the page of a problem in what follows
    look = console.doorkeeper.program if _is_api(request) else console.doorkeeper.look
    seen = look(request, desk.arrived.timestamp())
    desk = request.state.desk = replace(desk, somebody=seen.who)
    if seen.who is not None:
        await console.servers.asked()
        desk = request.state.desk = replace(desk, now=await console.servers.time_there(_now()))
    if seen.who is not None and not _is_api(request):
        request.state.top = await topbar.look(desk)
    return desk, seen.cookie


def _now() -> datetime:
    return datetime.now(UTC)


async def _of_ours(request: Request, desk: Desk) -> None:
    """Refuse a change that another site has sent in the name of whoever looks at it."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none"):
        raise Problem(HTTPStatus.FORBIDDEN, "The form is of another site. Nothing was done.")
    if desk.somebody is None or not desk.who.csrf:
        return  # the login form, and programs, which have a token of their own and no cookie
    given = request.headers.get("x-csrf-token") or (await form_of(request)).get("csrf")
    if given != desk.who.csrf:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "The form is of another session, or of none. Nothing was done: load the page again, repeat it.",
        )


def _to_log_in(request: Request) -> Response:
    """Send whoever is not known to the login page, and back from there: a form's address shows it again."""
    if _is_api(request):
        raise _no_token()
    query = f"?{request.url.query}" if request.url.query else ""
    ended = {"ended": "1"} if request.method != "GET" or request.cookies else {}
    where = f"{request.app.url_path_for('login')}?{urlencode({'next': request.url.path + query, **ended})}"
    if "hx-request" in request.headers:
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": where})
    return RedirectResponse(where, HTTPStatus.SEE_OTHER)


def _no_token() -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "Send a token: `Authorization: Bearer …`.")


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(API)


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer for an address or a method that is not served, to nobody in particular."""
    assert isinstance(error, HTTPException)  # noqa: S101 — it is registered for this one
    status = HTTPStatus(error.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: "There is nothing at this address.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address is not asked in this way.",
    }.get(status, status.phrase)
    console: Console = request.app.state.console
    try:
        desk, _ = await _received(console, request)
    except Problem as problem:
        return await _told(request, problem)
    ways = _ways(request) if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    if request.method == "OPTIONS" and ways:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": ways})
    if desk.somebody is None and status is HTTPStatus.NOT_FOUND:
        if _is_api(request):
            return await _told(request, _no_token())
        return _to_log_in(request)
    response = await _told(request, Problem(status, detail))
    if ways:
        response.headers["Allow"] = ways
    return response


def _ways(request: Request) -> str:
    """Say in which ways an address may be asked: several rows may be of the same path."""
    routes: list[Router] = request.app.routes
    found = (each.methods or () for each in routes if each.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({"OPTIONS", *(method for methods in found for method in methods)}))


async def _told(request: Request, problem: Exception) -> Response:
    """Show a problem: in the console's frame, or as problem+json."""
    assert isinstance(problem, Problem)  # noqa: S101 — it is registered for this one
    if _is_api(request) or not hasattr(request.state, "desk"):
        response = _as_json(problem)
    else:
        desk: Desk = request.state.desk
        if desk.somebody is not None and not hasattr(request.state, "top"):
            request.state.top = await topbar.look(desk)
        response = page(
            request, "problem.html", status=problem.status, problem=problem, back=_came_from(request),
            without=_without(request, problem),
        )  # fmt: skip
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _came_from(request: Request) -> str | None:
    """Return the address of the console's page that led here, if there was one: with what was typed there."""
    came = urlsplit(request.headers.get("referer", ""))
    where = f"{came.path}?{came.query}" if came.query else came.path
    return where if came.netloc == request.url.netloc and is_ours(where) else None


def _without(request: Request, problem: Problem) -> tuple[str, str] | None:
    """Return the field of the address that a problem names, and the address without it."""
    field = problem.detail.partition(":")[0]
    if request.method != "GET" or problem.status is not HTTPStatus.BAD_REQUEST:
        return None
    fields = request.query_params.multi_items()
    rest = [(name, value) for name, value in fields if name != field]
    return (field, f"{request.url.path}?{urlencode(rest)}") if len(rest) < len(fields) else None


def _as_json(problem: Problem) -> Response:
    text = json.dumps(problem.document, ensure_ascii=False)
    return Response(text, problem.status, media_type="application/problem+json")


def _around(app: Starlette) -> ASGIApp:
    """Add the headers, refuse a token in an address, and say sorry for a fault of this program."""

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _BARE:
            await app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        if _has_token(scope):
            await _refusal(scope["path"])(scope, receive, with_headers)
            return
        try:
            await app(scope, receive, with_headers)
        except Exception:  # noqa: BLE001 — `_failed` has answered; here it is logged, once
            _log.exception("console.failed", path=scope["path"][:200], method=scope["method"])

    return around


def _has_token(scope: Scope) -> bool:
    query = scope["query_string"].decode("latin-1")
    return MARK in unquote(query) or MARK in scope["path"] or bool(_TOKEN_FIELDS.search(query))


def _refusal(path: str) -> Response:
    said = (
        "A token does not belong in an address: it stays in logs and histories. Take its line out of the "
        "tokens file, make another one, and put that into the "
    )
    if path.startswith(API):
        header = "header `Authorization: Bearer …`."
        return _as_json(Problem(HTTPStatus.BAD_REQUEST, said + header, kind="token-in-address"))
    return Response(f"{said}field of the login page.\n", HTTPStatus.BAD_REQUEST, media_type="text/plain")


async def _failed(request: Request, _error: Exception) -> Response:
    said = "An error in this program: its log has `console.failed`. Whether anything was done, see the audit."
    if _is_api(request):
        return _as_json(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, said))
    return Response(f"{said}\n", HTTPStatus.INTERNAL_SERVER_ERROR, media_type="text/plain")
