"""The example project's own tests, and those that docs/testing.md shows, pass as its author runs them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from support.contract.documents import ROOT

from worker.stack import Stack

# Plugins that its author has no need of, and that take seconds to import.
_NOT_THEIRS = [f"-pno:{plugin}" for plugin in ("schemathesis", "hypothesispytest", "anyio")]
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_its_tests_pass_with_the_installed_package(stack: Stack, tmp_path: Path) -> None:
    project = tmp_path / "rooms"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.egg-info")
    shutil.copytree(ROOT / "examples" / "handlers", project, ignore=ignored)
    snippets = _SNIPPET.findall((ROOT / "docs" / "testing.md").read_text("utf-8"))
    for number, snippet in enumerate(snippets):
        (project / "tests" / f"test_page_{number}.py").write_text(snippet, "utf-8")

    done = subprocess.run(  # noqa: S603 — this interpreter
        [sys.executable, "-m", "pytest", "-rA", "-W", "error", *_NOT_THEIRS],
        cwd=project,
        env={**os.environ, "AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.database_url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    passed = re.findall(r"^PASSED tests/(\w+)\.py", done.stdout, re.MULTILINE)
    assert len(snippets) == 3
    assert {f"test_page_{number}" for number in range(3)} | {"test_over_http", "test_in_a_worker"} == set(
        passed
    )
    assert re.search(r"\d+ passed in ", done.stdout.splitlines()[-1]), "nothing is skipped"
