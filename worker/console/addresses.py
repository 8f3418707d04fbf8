"""Writes a filter as it was typed: as an address with something more or less, and for a command."""

import shlex
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import QueryParams

from worker.console.problems import bad
from worker.operations.filters import Filter, Page

Texts = Mapping[str, str]


def is_ours(where: str) -> bool:
    """Tell whether an address is of this console, whoever has written it."""
    parts = urlsplit(where)
    within = where.startswith("/") and not where.startswith("//") and not (parts.scheme or parts.netloc)
    return within and where.isprintable() and "\\" not in where


def typed(query: QueryParams, *also: str) -> dict[str, str]:
    """Return the filters of an address as they were typed. Raises a 400 for a name that is none, or that is
    there twice: who mistypes one must not act on all that there is. `also`: what a page takes besides.
    """
    texts: dict[str, str] = {}
    for name, text in query.multi_items():
        if name in Filter._fields:
            if text and texts.get(name):
                raise bad(f"{name}: it is given twice")
            texts[name] = text
        elif name not in Page._fields and name not in also:
            raise bad(f"{name[:200]}: there is no such filter. There are {', '.join(Filter._fields)}")
    return {name: text for name, text in texts.items() if text}


def query_string(texts: Texts, **changes: object) -> str:
    """Write the filters with these changes, as a query string; what is None or empty is left out."""
    values = {**texts, **changes}
    return urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})


def fields_of(texts: Texts) -> Texts:
    """Return what each field of a form of filters shows."""
    return {name: texts.get(name, "") for name in Filter._fields}


def options_of(texts: Texts) -> str:
    """Write the filters as options of a command."""
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(text)}" for name, text in texts.items())
