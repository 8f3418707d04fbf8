"""A release of a copy of this repository: what stops it, what it makes, and that a dry run writes nothing."""

import copy
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from judged import pinned

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "release.py"
VERSION = "9.8.7"
NAME = f"session_worker-{VERSION}"
CHANGELOG = f"# Changelog\n\n## Unreleased\n\n## {VERSION} — 2026-12-01\n\nThis and that.\n"


# Stands for `make`: notes what it is asked for, and fails at what the file `broken` names. The file `bill` is
# its bill of materials.
_MAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$*" | sed "s#SBOM=.*/#SBOM=#" >> "$here/asked"
if [ "$1" = sbom ]; then cp "$here/bill" "${2#SBOM=}"; fi
! grep -qx "$1" "$here/broken" 2>/dev/null
"""
BILL = f"session_worker-{VERSION}.cdx.json"
PACKAGES = pinned(ROOT / "requirements" / "worker.lock")


def bill_of(packages: dict[str, str], version: str = VERSION) -> str:
    return json.dumps(
        {
            "metadata": {"component": {"name": "session-worker", "version": version}},
            "components": [{"name": name, "version": number} for name, number in packages.items()],
        }
    )


class Copy:
    """A repository with this one's packages, at a version that may be released."""

    def __init__(self, place: Path) -> None:
        self.root = place / "repository"
        self.tools = place / "tools"
        for folder in ("schemas", "worker", "tests/support"):
            shutil.copytree(ROOT / folder, self.root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (".gitignore", "LICENSE", "README.md", "pyproject.toml"):
            shutil.copy(ROOT / file, self.root)
        self.write("CHANGELOG.md", CHANGELOG)
        (self.root / "requirements").mkdir()
        shutil.copy(ROOT / "requirements" / "worker.lock", self.root / "requirements")
        self.tools.mkdir()
        (self.tools / "bill").write_text(bill_of(PACKAGES), "utf-8")
        (self.tools / "make").write_text(_MAKE, "utf-8")
        (self.tools / "make").chmod(0o755)
        self.git("init", "--quiet")
        self.replace("pyproject.toml", 'version = "0.1.0"', f'version = "{VERSION}"')
        self.commit()

    def write(self, file: str, text: str) -> None:
        (self.root / file).write_text(text, "utf-8")

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text("utf-8")
        assert old in text
        self.write(file, text.replace(old, new))

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments).stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A commit")

    def release(self, *options: str, version: str = VERSION) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, str(SCRIPT), version, *options, check=False)

    def keep_documents(self) -> None:
        assert self.release().returncode == 1
        self.commit()

    def copied_to(self, place: Path) -> "Copy":
        """Makes another one that is as this is now."""
        other = copy.copy(self)
        other.root, other.tools = place / "repository", place / "tools"
        shutil.copytree(self.root, other.root)
        shutil.copytree(self.tools, other.tools)
        return other

    @property
    def asked(self) -> list[str]:
        """The targets that `make` was asked for."""
        noted = self.tools / "asked"
        return noted.read_text("utf-8").splitlines() if noted.exists() else []

    def _run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{who}_{what}": "a@b.example"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
        return subprocess.run(  # noqa: S603 — the script of this repository, and git
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=check
        )


@pytest.fixture
def repository(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.fixture(scope="module")
def kept_once(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A repository that keeps the documents of its version: to be copied, as making them takes seconds."""
    made = Copy(tmp_path_factory.mktemp("kept"))
    made.keep_documents()
    return made


@pytest.fixture
def kept(kept_once: Copy, tmp_path: Path) -> Copy:
    return kept_once.copied_to(tmp_path)


def stopped(repository: Copy, *options: str, version: str = VERSION) -> str:
    """The sentence that a release ends with when it may not be made."""
    done = repository.release(*options, version=version)

    assert done.returncode == 1
    assert repository.git("tag", "--list", "v9.8.7") == ""
    assert not (repository.root / "dist").exists()
    return done.stderr


def test_a_version_is_three_numbers(repository: Copy) -> None:
    assert "'9.8' is no version" in stopped(repository, version="9.8")
    assert "'' is no version" in stopped(repository, version="")


def test_the_version_is_the_one_of_the_metadata(repository: Copy) -> None:
    assert "pyproject.toml says 9.8.7: set it to 9.8.8" in stopped(repository, version="9.8.8")


@pytest.mark.parametrize("heading", ["9.8.7 — unreleased (2026-12-01)", "9.8.6 — 2026-12-01"])
def test_the_changelog_has_a_section_with_a_day(repository: Copy, heading: str) -> None:
    repository.replace("CHANGELOG.md", "9.8.7 — 2026-12-01", heading)
    repository.commit()

    assert "CHANGELOG.md has no section `## 9.8.7 — YYYY-MM-DD`" in stopped(repository)


def test_the_section_says_something(repository: Copy) -> None:
    repository.replace("CHANGELOG.md", "This and that.", "## 9.8.6 — 2026-11-01\n\nThe one before.")
    repository.commit()

    assert "CHANGELOG.md has no section `## 9.8.7 — YYYY-MM-DD` with a text" in stopped(repository)


def test_everything_is_committed(repository: Copy) -> None:
    repository.write("worker/new.py", "")

    assert "not everything is committed:\n?? worker/new.py" in stopped(repository)


def test_a_version_is_tagged_once(repository: Copy) -> None:
    repository.git("tag", f"v{VERSION}")

    done = repository.release()

    assert done.returncode == 1
    assert "v9.8.7 is tagged already" in done.stderr


def test_the_documents_are_kept_first_so_that_the_tests_see_them(repository: Copy) -> None:
    sentence = stopped(repository)

    assert "schemas/json/released/v9.8.7 now holds the documents of 9.8.7: commit them" in sentence
    assert repository.git("status", "--porcelain") == "?? schemas/json/released/v9.8.7/"
    kept = {file.name for file in (repository.root / "schemas/json/released/v9.8.7").iterdir()}
    assert kept == {file.name for file in (ROOT / "schemas" / "json").glob("*.json")}
    assert repository.asked == []


def test_a_document_that_changed_since_it_was_kept_is_kept_anew(kept: Copy) -> None:
    kept.write("schemas/json/released/v9.8.7/session.schema.json", "{}")
    kept.commit()

    assert "commit them" in stopped(kept)
    assert kept.git("status", "--porcelain") == "M schemas/json/released/v9.8.7/session.schema.json"


def test_a_test_that_fails_stops_it(kept: Copy) -> None:
    (kept.tools / "broken").write_text("test\n", "utf-8")

    assert "`make test PYTEST_ARGS=` failed" in stopped(kept)


@pytest.fixture(scope="module")
def released(kept_once: Copy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A repository whose version is released, with a file in its folder that nobody has committed."""
    repository = kept_once.copied_to(tmp_path_factory.mktemp("released"))
    repository.write(".gitignore", "dist/\nworker/lies_here.py\n")
    repository.commit()
    repository.write("worker/lies_here.py", "")
    done = repository.release()
    assert done.returncode == 0, done.stderr
    return repository


def built(repository: Copy) -> list[Path]:
    """The wheel, the sdist and the bill of materials."""
    files = (repository.root / "dist").iterdir()
    return sorted(files, key=lambda file: (".whl", ".gz", ".json").index(file.suffix))


def test_a_release_is_checked_and_tested_and_its_commit_is_tagged(released: Copy) -> None:
    assert released.asked == ["check", "test PYTEST_ARGS=", f"sbom SBOM={BILL}"]
    assert released.git("rev-parse", "v9.8.7^{commit}") == released.git("rev-parse", "HEAD")
    assert released.git("cat-file", "-t", "v9.8.7") == "tag"
    assert released.git("status", "--porcelain") == ""


def test_the_packages_hold_what_is_committed_for_them_and_nothing_else(released: Copy) -> None:
    wheel, sdist, bill = built(released)
    assert bill.name == BILL
    with zipfile.ZipFile(wheel) as archive:
        _is_complete({f"{NAME}/{name}" for name in archive.namelist()})
        assert f"Version: {VERSION}" in archive.read(f"{NAME}.dist-info/METADATA").decode()
    with tarfile.open(sdist) as packed:
        _is_complete(set(packed.getnames()))


def _is_complete(names: set[str]) -> None:
    for file in ("py.typed", "json/asyncapi.json", "json/session.schema.json"):
        assert f"{NAME}/schemas/{file}" in names
    for file in ("py.typed", "app.py", "postgres/sql/queries.sql", "console/static/htmx.LICENSE"):
        assert f"{NAME}/worker/{file}" in names
    assert [name for name in names if "/sql/migrations/0" in name]
    assert [name for name in names if "tests/" in name or "released" in name or "lies_here" in name] == []


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["worker/postgres/sql/more.sql", "schemas/json/more.json", "worker/more.py"])
def test_a_package_that_lacks_a_file_is_no_release(released: Copy, script: ModuleType, name: str) -> None:
    wanted = script.packaged(released.root) - {"worker/lies_here.py"}
    script.check_contents(built(released)[:2], wanted, VERSION)

    with pytest.raises(script.NotReadyError, match=f"whl lacks: {name}"):
        script.check_contents(built(released)[:2], wanted | {name}, VERSION)


def test_a_package_that_has_one_file_too_many_is_no_release(released: Copy, script: ModuleType) -> None:
    wanted = script.packaged(released.root) - {"worker/lies_here.py", "worker/app.py"}

    with pytest.raises(script.NotReadyError, match=r"whl has what it must not: worker/app\.py"):
        script.check_contents(built(released)[:2], wanted, VERSION)


@pytest.mark.parametrize("kind", [".sql", ".typed", ".html"])
def test_packages_without_a_kind_of_file_are_no_release(
    released: Copy, script: ModuleType, kind: str
) -> None:
    wanted = {name for name in script.packaged(released.root) if not name.endswith(kind)}

    with pytest.raises(script.NotReadyError, match=f"no {kind} file"):
        script.check_contents(built(released)[:2], wanted, VERSION)


def test_packages_of_another_version_are_no_release(released: Copy, script: ModuleType) -> None:
    with pytest.raises(script.NotReadyError, match=r"not the wheel and the sdist of 9\.8\.8"):
        script.check_contents(built(released)[:2], script.packaged(released.root), "9.8.8")


def test_a_dry_run_does_all_but_the_tests_and_writes_nothing(repository: Copy) -> None:
    done = repository.release("--dry-run")

    assert done.returncode == 0, done.stderr
    assert "9.8.7 can be released once the tests pass" in done.stdout
    assert "a release would write them" in done.stdout
    assert repository.asked == ["check", f"sbom SBOM={BILL}"]
    assert repository.git("status", "--porcelain", "--ignored") == ""
    assert repository.git("tag") == ""


@pytest.mark.parametrize(
    ("bill", "wrong"),
    [
        (bill_of(PACKAGES, "9.8.6"), "is not of version 9.8.7"),
        (bill_of({"another": "1"} | PACKAGES), "has what it must not: another==1"),
        (bill_of({name: PACKAGES[name] for name in PACKAGES if name != "asyncpg"}), "lacks: asyncpg=="),
    ],
)
def test_a_bill_of_materials_is_of_this_version_and_whole(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bill: str, wrong: str
) -> None:
    (tmp_path / "bill").write_text(bill, "utf-8")
    (tmp_path / "make").write_text(_MAKE, "utf-8")
    (tmp_path / "make").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(script.NotReadyError, match=wrong):
        script.bill_of_materials(ROOT, tmp_path / BILL, VERSION)
