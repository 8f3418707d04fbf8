"""Puts numbers and names into the words of a finding."""

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

_SPANS = ((86_400 * 2, 86_400, "days"), (7_200, 3_600, "h"), (120, 60, "min"), (0, 1, "s"))
_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_TEXT = re.compile(r"'(?:[^']|'')*'?|\$(\w*)\$.*", re.DOTALL)
_LONGEST_QUERY, _LONGEST_NAME = 60, 80


def span(seconds: float) -> str:
    """Say how long something took or takes."""
    unit, name = next((unit, name) for least, unit, name in _SPANS if seconds >= least or not least)
    return f"{max(0.0, seconds) / unit:.0f} {name}"


def size(number: float) -> str:
    """Say how large something is."""
    for unit, name in _SIZES:
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f} bytes"


def count(number: int, one: str, many: str | None = None) -> str:
    """Say how many there are."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """Name the first ones, and say how many there are beside them."""
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:most]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")


def at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def word(text: str) -> str:
    """Quote what stands in a command, for a shell."""
    return shlex.quote(text)


def statement(query: str | None) -> str:
    """Show the beginning of a statement, without the texts in it: they may be anybody's."""
    short = " ".join(_TEXT.sub("'…'", query or "").split())
    return short if len(short) <= _LONGEST_QUERY else f"{short[:_LONGEST_QUERY]}…"


def person(pid: int | None, *names: str | None) -> str:
    """Say who is connected to Postgres."""
    if not pid:
        return "a prepared transaction"
    known = ", ".join(name for name in names if name)
    return f"pid {pid}" + (f" ({known})" if known else "")
