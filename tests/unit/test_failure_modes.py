"""The page of failure modes: each failure has a section, and each section names the test that proves it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PAGE = (ROOT / "docs" / "failure-modes.md").read_text("utf-8")
_SECTION = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_POINT = re.compile(r"^- \*\*(.+?):\*\* (.+?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")

FAILURES = dict(_SECTION.findall(_PAGE))
WITHOUT_TEST = {
    "The node that leads a queue is frozen, not dead"
}  # takes minutes; the page has what was measured


@pytest.fixture(scope="module")
def tests() -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py")}


def test_each_failure_has_a_section_of_its_own() -> None:
    assert len(FAILURES) > 70
    assert len(FAILURES) == _PAGE.count("\n### ")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_says_what_follows_for_each(failure: str) -> None:
    points = [name for name, _ in _POINT.findall(FAILURES[failure])]

    assert points == ["Users see", "The worker", "The operator", "Proof"]


@pytest.mark.parametrize("failure", sorted(FAILURES.keys() - WITHOUT_TEST))
def test_a_failure_names_a_test_that_is_there(failure: str, tests: dict[str, str]) -> None:
    named = _TEST.findall(dict(_POINT.findall(FAILURES[failure]))["Proof"])

    assert named
    for file, function in named:
        assert re.search(rf"^(async )?def {function or 'test_'}", tests[file], re.MULTILINE), (
            f"{file}::{function}"
        )


@pytest.mark.parametrize("failure", WITHOUT_TEST)
def test_what_has_no_test_was_tried_by_hand(failure: str) -> None:
    assert dict(_POINT.findall(FAILURES[failure]))["Proof"].startswith("by hand")
