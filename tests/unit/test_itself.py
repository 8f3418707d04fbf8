"""This program can start itself as a child process."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.process import own_command

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("here", [True, False])
def test_a_file_of_the_same_name_in_the_current_folder_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, here: bool
) -> None:
    (tmp_path / "worker.py").write_text("print('somebody else')")
    monkeypatch.chdir(ROOT if here else tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    command = own_command.command("--help")
    said = subprocess.run(  # noqa: S603 — this interpreter
        command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    ).stdout

    assert said.startswith("usage: session-worker")
    assert ("-P" in command) is not here
