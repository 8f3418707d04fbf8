"""Prints a list as CSV for spreadsheets, in which no cell is a formula."""

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

_FORMULA = ("=", "+", "-", "@", "\t")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would obey it, and \r end the line


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a line with the names of the columns, then the rows."""
    csv.writer(sys.stdout, lineterminator="\n").writerow(columns)
    print_rows(rows)


def print_rows(rows: Iterable[Sequence[object]]) -> None:
    """Print more rows of the same."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> object:
    """Make a cell of it. A text that a spreadsheet would carry out gets a ' in front."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    return f"'{text}" if text.startswith(_FORMULA) else text
