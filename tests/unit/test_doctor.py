"""Each check of the doctor has a name, and a test that plants its fault."""

import ast
from pathlib import Path

from worker.operations.doctor.checks import ALL

TESTS = Path(__file__).parents[1]


def planted_ids() -> set[str]:
    """Returns the ids of checks that stand in a call of `planted` in a test."""
    calls = (
        node
        for text in (file.read_text("utf-8") for file in TESTS.glob("*/test_*.py"))
        if "planted(" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "planted"
    )
    return {
        word.value
        for call in calls
        for argument in call.args
        for word in ast.walk(argument)
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }


def test_each_check_has_a_name_of_its_own_and_a_fault_that_a_test_plants() -> None:
    names = [check.id for check in ALL]

    assert len(set(names)) == len(names)
    assert not set(names) & {check.part.value for check in ALL}
    assert set(names) == planted_ids()
