"""The Makefile, and what has to agree with it."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_hooks_before_a_commit_run_what_make_check_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")

    assert re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE) == _would_run("check")


def test_the_hooks_need_nothing_from_outside() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")

    assert set(re.findall(r"^ +- repo: (.+)$", hooks, re.MULTILINE)) == {"local"}
    assert set(re.findall(r"^ +language: (.+)$", hooks, re.MULTILINE)) == {"system"}


def test_lint_is_another_name_of_check() -> None:
    assert _would_run("lint") == _would_run("check")


def test_what_check_runs_changes_no_file() -> None:
    assert [line for line in _would_run("check") if "--fix" in line] == []
    assert [line for line in _would_run("check") if " format " in line and "--check" not in line] == []


def test_help_names_every_target_for_people() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (help .+)$", text, re.MULTILINE)
    told = re.findall(r"^  make ([a-z-]+) ", _make("--silent", "help"), re.MULTILINE)

    assert sorted(told) == sorted(phony.split())


def _would_run(target: str) -> list[str]:
    """The commands of a target, without the one that brings .venv up to date; none of them is run."""
    lines = _make("--dry-run", target).splitlines()
    return [line for line in lines if not line.startswith("deploy/setup.sh")]


def _make(*arguments: str) -> str:
    # Without the flags of a `make test` that runs this.
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    return subprocess.run(  # noqa: S603 — the Makefile of this repository
        ["make", "--no-print-directory", *arguments],  # noqa: S607 — whichever is on the PATH, as for people
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
