"""Draws the table of the doctor's checks, which docs/operating.md has."""

from pathlib import Path

from support import drawn

from worker.operations.doctor.checks import ALL
from worker.operations.doctor.finding import Part

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


def page() -> str:
    """Returns the page with the table as the code has it."""
    rows = [
        f"| `{check.id}` | {check.part} | {check.worst.value} | {check.finds} |"
        for part in Part
        for check in ALL
        if check.part is part
    ]
    table = "\n".join(["| check | part | at worst | finds |", "|---|---|---|---|", *rows]) + "\n"
    return drawn.page(PAGE, lambda _: table)
