"""The packages as people install them: wheel and sdist, each with one extra, into a fresh environment.

`make test-packages` runs these tests, and `make test` does not: they need a package registry, and minutes.
"""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import release
from support.harness import NewWorker
from support.snippets import ROOT, snippets_of

from schemas import is_session_id
from worker.settings import Settings
from worker.stack import Stack

pytestmark = pytest.mark.timeout(900)
_OF_A_WORKER = {"asyncpg", "cryptography", "prometheus-client", "starlette", "structlog", "uvicorn"}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist of the last commit, by the ends of their names."""
    place = tmp_path_factory.mktemp("packages")
    source = release.export(ROOT, "HEAD", place)
    return {file.suffix: file for file in release.build(source, place / "dist", "0")}


class Environment:
    """A virtual environment with nothing in it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    async def install(self, package: Path, extra: str) -> None:
        await _run(sys.executable, "-m", "venv", str(self.place))
        await self.run("python", "-m", "pip", "install", "--quiet", f"{package}[{extra}]")
        await self.run("python", "-m", "pip", "check")

    async def run(self, program: str, *words: str, cwd: Path | None = None, **variables: str) -> str:
        """Run one of its programs; return what it prints."""
        return await _run(str(self.place / "bin" / program), *words, cwd=cwd, **variables)

    async def has(self) -> set[str]:
        listed = await self.run("python", "-m", "pip", "list", "--format", "freeze")
        return {line.partition("==")[0].lower() for line in listed.splitlines()}


@pytest.fixture
def fresh(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "venv")


async def _run(*command: str, cwd: Path | None = None, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WORKER_"))}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**kept, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, f"{command}:\n{out.decode()}"
    return out.decode()


async def test_the_extra_client_alone_is_enough_to_ask(
    built: dict[str, Path], fresh: Environment, settings: Settings, new_worker: NewWorker, tmp_path: Path
) -> None:
    await new_worker()
    await fresh.install(built[".whl"], "client")
    program = next(each.text for each in snippets_of("README.md") if "import Client" in each.text)
    here = f"{settings.amqp_url.get_secret_value()!r}, {settings.prefix!r}"
    (tmp_path / "ask.py").write_text(re.sub(r'(?<=Client\()"[^"]*"', here, program), "utf-8")

    assert await fresh.has() & _OF_A_WORKER == set()
    assert is_session_id((await fresh.run("python", "ask.py", cwd=tmp_path)).strip())


async def test_the_sdist_with_the_extra_testing_runs_the_tests_of_a_handler(
    built: dict[str, Path], fresh: Environment, stack: Stack, tmp_path: Path
) -> None:
    await fresh.install(built[".gz"], "testing")
    shutil.copytree(ROOT / "examples" / "handlers", tmp_path / "rooms")
    await fresh.run(
        "python", "-m", "pip", "install", "-q", ".[test]", cwd=tmp_path / "rooms"
    )  # as its page says

    assert "session-worker" in await fresh.run("session-worker", "--version", cwd=tmp_path)
    urls = {"AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.database_url}
    told = await fresh.run("python", "-m", "pytest", "-rA", cwd=tmp_path / "rooms", **urls)
    assert "PASSED tests/test_in_a_worker.py" in told
    assert re.search(r"= \d+ passed in ", told.splitlines()[-1]), "nothing is skipped"
