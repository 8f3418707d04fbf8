"""Finds out who asks: by a bearer's token, by the cookie of a session, or by what a trusted proxy says."""

from collections import OrderedDict
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Who
from worker.console.problems import Problem
from worker.console.sessions import COOKIE, Sessions
from worker.console.tokens import Known, Line, TokensFile
from worker.errors import SettingsError
from worker.settings import Settings

_BEARER = "bearer "
_TRIES, _SECONDS = 10, 60.0  # wrong tokens from one address, and how soon they are forgotten
_REMEMBERED = 10_000
_MOST_HOPS = 20

Network = IPv4Network | IPv6Network


class Seen(NamedTuple):
    """Who asks, if that is known, and the cookie by which their session goes on."""

    who: Who | None
    cookie: str | None = None


class Doorkeeper:
    """Lets in who has a token."""

    def __init__(self, settings: Settings) -> None:
        if not settings.console_tokens_file:
            raise SettingsError(
                "WORKER_CONSOLE_TOKENS_FILE: is not set: the console lets in who has a line in it, and "
                "nobody else. `session-worker console token --name NAME --role ROLE` makes a line"
            )
        self._file = TokensFile(settings.console_tokens_file)
        self._header = settings.console_proxy_header
        self._trusted = networks(settings.console_trusted_proxies)
        if bool(self._header) != bool(self._trusted):
            raise SettingsError(
                "WORKER_CONSOLE_PROXY_HEADER and WORKER_CONSOLE_TRUSTED_PROXIES: set both or neither"
            )
        self._sessions = Sessions(settings.database_url.get_secret_value())
        self._limiter = Limiter()

    def program(self, request: Request, now: float) -> Seen:
        """Say which program asks: by its token alone, so that no page can act in somebody's name."""
        bearer = _bearer(request)
        if bearer is None:
            return Seen(None)
        line = self._known().with_token(bearer)
        if line is None:
            self._wrong(request, now)
        return Seen(_who(line))

    def look(self, request: Request, now: float) -> Seen:
        """Say who asks. A proxy counts before a cookie: behind one there is no other way in."""
        if _bearer(request) is not None:
            return self.program(request, now)
        known = self._known()
        if self._header and self._is_trusted(request) and (name := request.headers.get(self._header)):
            line = known.of_proxy(name)
            return Seen(_who(line, self._sessions.csrf("proxy", name)))
        if (cookie := request.cookies.get(COOKIE)) is not None:
            found = self._sessions.read(cookie, known, now)
            if found is not None:
                session, line = found
                # What a page asks by itself, again and again, is no sign that somebody is there.
                renewed = None if "hx-request" in request.headers else self._sessions.renewed(session, now)
                return Seen(_who(line, self._sessions.csrf(session.number)), renewed)
        return Seen(None)

    def log_in(self, request: Request, token: str, now: float) -> str | None:
        """Return the cookie of whoever has this token; None: nobody has. Raises a 429 after too many."""
        self._limiter.check(self._address(request), now)
        line = self._known().with_token(token.strip())
        if line is None:
            self._wrong(request, now)
            return None
        return self._sessions.begin(line, now)

    def log_out(self, request: Request) -> None:
        """End the session of the cookie that the request has."""
        self._sessions.end(request.cookies.get(COOKIE, ""))

    def is_https(self, request: Request) -> bool:
        """Return whether the browser speaks TLS, to this server or to a trusted proxy."""
        told = request.headers.get("x-forwarded-proto", "") if self._is_trusted(request) else ""
        return (told or request.url.scheme) == "https"

    def set_cookie(self, request: Request, response: Response, cookie: str | None) -> None:
        """Set the cookie, or take it away. It has no end of its own: the browser's clock may be wrong."""
        if cookie is None:
            response.delete_cookie(
                COOKIE, path="/", secure=self.is_https(request), httponly=True, samesite="strict"
            )
        else:
            response.set_cookie(
                COOKIE, cookie, path="/", secure=self.is_https(request), httponly=True, samesite="strict"
            )

    def _known(self) -> Known:
        try:
            return self._file.read()
        except SettingsError as error:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"Nobody is let in: {error}") from None

    def _wrong(self, request: Request, now: float) -> None:
        """Note a wrong token; raise a 429 where there were too many before."""
        address = self._address(request)
        self._limiter.check(address, now)
        self._limiter.failed(address, now)

    def _is_trusted(self, request: Request) -> bool:
        return bool(self._trusted) and self._trusts(request.client.host if request.client else "")

    def _trusts(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._trusted)
        except ValueError:
            return False

    def _address(self, request: Request) -> str:
        """Return where a request comes from: behind trusted proxies, the first address that is none."""
        address = request.client.host if request.client else ""
        if self._is_trusted(request):
            hops = request.headers.get("x-forwarded-for", "").split(",")[-_MOST_HOPS:]
            for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
                address = hop[:64]
                if not self._trusts(hop):
                    break
        return address


class Limiter:
    """Counts wrong tokens by where they come from."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str, now: float) -> None:
        """Raise a 429 when there were too many lately."""
        count = self._count(address, now)
        if count > _TRIES - 1:
            wait = max(1, round((count - _TRIES + 1) * _SECONDS / _TRIES))
            detail = f"Too many wrong tokens came from {address}. Try again in {wait} s."
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=wait)

    def failed(self, address: str, now: float) -> None:
        """Note a wrong token."""
        self._of[address] = self._count(address, now) + 1, now
        self._of.move_to_end(address)
        if len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)

    def _count(self, address: str, now: float) -> float:
        """Return how many are remembered: they are forgotten one after the other."""
        count, at = self._of.get(address, (0.0, now))
        return max(0.0, count - max(0.0, now - at) * _TRIES / _SECONDS)


def networks(text: str) -> list[Network]:
    """Read addresses and networks, separated by commas."""
    return list(_networks(word.strip() for word in text.split(",") if word.strip()))


def _networks(words: Iterable[str]) -> Iterable[Network]:
    for word in words:
        try:
            yield ip_network(word)
        except ValueError as error:
            raise SettingsError(f"WORKER_CONSOLE_TRUSTED_PROXIES: {error}") from None


def _bearer(request: Request) -> str | None:
    given = request.headers.get("authorization", "")
    return given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else None


def _who(line: Line | None, csrf: str = "") -> Who | None:
    return Who(line.name, line.role, line.payloads, csrf) if line else None
