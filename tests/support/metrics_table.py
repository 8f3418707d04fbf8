"""Reads the table of metrics in docs/metrics.md."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(worker_\w+)` \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, set[str]]:
    """Returns the documented metrics, each with its labels."""
    return {
        name: set(re.findall(r"`(\w+)`", labels)) for name, labels in _ROW.findall(_PAGE.read_text("utf-8"))
    }
