"""The table of metrics in docs/operating.md: what a worker counts, as its users know it."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
_ROW = re.compile(r"^\| `(worker_\w+)` \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, set[str]]:
    """The names, and the labels of each."""
    return {
        name: set(re.findall(r"`(\w+)`", labels)) for name, labels in _ROW.findall(_PAGE.read_text("utf-8"))
    }
