"""Makes pages from templates: whole ones, or the part that htmx swaps."""

from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from worker.console import files
from worker.console.access import Right
from worker.console.context import Desk, desk_of

LONGEST: Final = 200  # characters of a text of unknown origin
_SHORT_ID: Final = 8
_SIZES: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_SPANS: Final = ((86_400 * 2, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min"))
_NOTHING: Final = "\N{EN DASH}"
_ENDED: Final = 286  # htmx's own: what asked again and again need not any more


def page(
    request: Request,
    template: str,
    *,
    status: int = HTTPStatus.OK,
    refresh: int | None = None,
    **values: object,
) -> HTMLResponse:
    """Render a template that extends `layout`: the whole page, or its block `main` alone when htmx asks.

    `refresh`: after so many seconds the page asks for its `main` again, unless somebody has paused that or is
    writing. A template has `desk`, `who`, `now`, `may(right)`, `url(name, …)`, `here` (this address), `csrf`
    (for the hidden field), `top` (what the top bar shows) and the filters of this module.
    """
    desk = desk_of(request)
    by_htmx = "hx-request" in request.headers and "hx-boosted" not in request.headers
    html = (
        _environment()
        .get_template(template)
        .render(
            layout="_parts/fragment.html" if by_htmx else "base.html",
            refresh=refresh,
            **_of_all(request, desk),
            **values,
        )
    )
    if by_htmx and refresh is None and status == HTTPStatus.OK:
        status = _ENDED
    return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store", "Vary": "HX-Request"})


def _of_all(request: Request, desk: Desk) -> dict[str, object]:
    """Return what every template has."""
    who = desk.somebody

    def url(name: str, /, **params: object) -> str:
        return str(request.app.url_path_for(name, **params))

    def may(right: str) -> bool:
        return who is not None and who.may(Right(right))

    query = f"?{request.url.query}" if request.url.query else ""
    return {
        "desk": desk, "who": who, "now": desk.now, "may": may, "url": url, "csrf": who.csrf if who else "",
        "path": request.url.path, "here": request.url.path + query, "query": request.query_params,
        "top": getattr(request.state, "top", None), "environment": desk.environment,
        "prefix": desk.settings.prefix, "done": _done(request), "static_version": files.version(),
    }  # fmt: skip


def _done(request: Request) -> int | None:
    """Return the number of the audit's line of what was just done, which stands in the address."""
    text = request.query_params.get("done", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < LONGEST // 10 else None


def moment(value: datetime | None) -> str:
    """Write a time, in UTC: 2026-11-25 12:36:45Z."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if value else _NOTHING


def clock(value: datetime | None) -> str:
    """Write the time of day, in UTC."""
    return f"{value.astimezone(UTC):%H:%M:%S}" if value else _NOTHING


def ago(value: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago it was, as `47 s`; a time ahead, as a clock may have it, is `in 3 s`."""
    if value is None:
        return _NOTHING
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    return span(seconds) if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float | timedelta | None) -> str:
    """Write how long something took, as `8 ms`, `7.9 s`, `5 min`."""
    if seconds is None:
        return _NOTHING
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    for least, unit, name in _SPANS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 — digits that are read


def number(value: float | None) -> str:
    """Write a number: whole ones with commas, others with three digits."""
    if value is None:
        return _NOTHING
    if isinstance(value, int) or value.is_integer() or abs(value) >= 1_000:  # noqa: PLR2004 — digits that are read
        return f"{value:,.0f}"
    return f"{value:.3g}"


def size(value: float | None) -> str:
    """Write how large something is, as `3.06 kB`; in templates it is called `bytes`."""
    if value is None:
        return _NOTHING
    for unit, name in _SIZES:
        if abs(value) >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} bytes"


def short_id(value: object) -> str:
    """Write the beginning of an id, long enough to be found by."""
    text = str(value)
    return text if len(text) <= _SHORT_ID + 1 else f"{text[:_SHORT_ID]}…"


def cut(value: object, most: int = LONGEST) -> str:
    """Cut a text of unknown origin."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}…"


def counted(value: int, what: str, many: str | None = None) -> str:
    """Write how many there are, as `1 request`, `789 requests`."""
    return f"{value:,} {what if value == 1 else many or what + 's'}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,  # in every template, whatever its name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "moment": moment, "clock": clock, "ago": ago, "span": span, "number": number, "bytes": size,
        "short_id": short_id, "cut": cut, "counted": counted,
    }  # fmt: skip
    return made
