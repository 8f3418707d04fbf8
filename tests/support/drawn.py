"""Draws the parts of a page that are made from the code, between two marks each."""

import re
from collections.abc import Callable
from pathlib import Path

_PART = re.compile(r"(<!-- drawn: ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(path: Path, draw: Callable[[str], str]) -> str:
    """Return the page with each part drawn anew by the name in its first mark."""
    return _PART.sub(lambda found: found[1] + draw(found[2]) + found[3], path.read_text("utf-8"))
