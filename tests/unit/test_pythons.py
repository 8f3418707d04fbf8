"""The tests on each Python that the metadata promise: which are run, and what is said of the others."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "test_pythons.sh"

# Makes an environment whose Python is the one that was named.
_SETUP = """#!/bin/sh
mkdir -p "$2/bin" && cp "$3" "$2/bin/python"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that promises two Pythons that nobody has."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    _executable(tmp_path / "deploy" / "setup.sh", _SETUP)
    promised = [f'  "Programming Language :: Python :: {version}",\n' for version in ("3.70", "3.71")]
    (tmp_path / "pyproject.toml").write_text("".join(promised), "utf-8")
    return tmp_path


def test_a_python_that_is_not_here_is_named_and_fails_nothing(project: Path) -> None:
    _python(project, "3.70", exit_code=0)

    done = _run(project)

    assert done.returncode == 0
    assert "uninstall --quiet --yes uvloop\nrunning -m pytest tests/unit -q -x" in done.stdout
    assert "  Python 3.70: passed\n  Python 3.71: not run, for it is not on this machine\n" in done.stdout


def test_a_test_that_fails_on_one_python_fails_the_run_after_the_others(project: Path) -> None:
    _python(project, "3.70", exit_code=1)
    _python(project, "3.71", exit_code=0)

    done = _run(project)

    assert done.returncode == 1
    assert "  Python 3.70: FAILED\n  Python 3.71: passed\n" in done.stdout


def test_the_oldest_python_that_is_promised_is_the_oldest_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tested = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)

    assert len(tested) > 1
    assert project["requires-python"] == f">={tested[0]}"


def _python(project: Path, version: str, *, exit_code: int) -> None:
    (project / "bin").mkdir(exist_ok=True)
    stub = f"""#!/bin/sh
case "$1" in
  -c) echo {version} ;;
  --version) echo Python {version}.0 ;;
  *) echo "running $*"; exit {exit_code} ;;
esac
"""
    _executable(project / "bin" / f"python{version}", stub)


def _executable(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def _run(project: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{project / 'bin'}:{os.environ['PATH']}", "HOME": str(project)}
    return subprocess.run(  # noqa: S603 — the script of this repository
        [project / "deploy" / "test_pythons.sh", "-x"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
