"""Prints a list as CSV for spreadsheets, in which no cell is a formula."""

import sys
from collections.abc import Iterable, Sequence

from worker.operations import spreadsheet


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a line with the names of the columns, then the rows."""
    sys.stdout.write(spreadsheet.lines([columns]))
    print_rows(rows)


def print_rows(rows: Iterable[Sequence[object]]) -> None:
    """Print more rows of the same."""
    sys.stdout.write(spreadsheet.lines(rows))
