"""Reads from an address which requests are meant: with the names and the syntax of the command line."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from worker.console.reading import ago, one_of, plain, read_text, whole
from worker.operations.filters import CODES, DELIVERED, MOST_LISTED, SORTS, STATES, Filter, Page

_MOST_ATTEMPTS = 1_000_000


def filter_of(query: Mapping[str, str], now: datetime) -> Filter:
    """Read the filter of a query string (`?org=org-7&status=failed&since=1h`); a field that is empty is not
    given. Raises a 400 that names the field and says why.
    """
    how = {**_FILTERS, **dict.fromkeys(("since", "until"), ago(now))}
    return Filter(**{name: _read(query, name, how[name]) for name in Filter._fields})


def page_of(query: Mapping[str, str], *, limit: int = 50) -> Page:
    """Read `sort`, `limit` and `after` of a query string."""
    sort = _read(query, "sort", one_of(SORTS))
    given = _read(query, "limit", whole(MOST_LISTED))
    return Page(sort=sort or "received", limit=given or limit, after=_read(query, "after", _uuid))


def query_of(wanted: Filter, **more: object) -> str:
    """Write a filter as a query string, and further fields; what is None or empty is left out."""
    named = {**wanted._asdict(), **more}
    return urlencode(
        {name: _written(value) for name, value in named.items() if value is not None and value != ""}
    )


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read(query: Mapping[str, str], name: str, how: Callable[[str], Any]) -> Any:  # noqa: ANN401 — what `how` returns
    return read_text(name, query.get(name, ""), how)  # spaces count: a name may begin with one


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("is no request's id") from None


_FILTERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(Filter._fields, plain),
    "status": one_of(STATES),
    "code": one_of(CODES),
    "response": one_of(DELIVERED),
    "attempt": whole(_MOST_ATTEMPTS),
}
