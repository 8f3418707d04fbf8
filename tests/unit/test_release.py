"""A release of a copy of this repository: what stops it, what it makes, and how a user finds its wheel."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import build_image
import pytest
import release
from judged import pinned
from release import NotReadyError
from support.contract.documents import json_documents

ROOT = Path(__file__).parents[2]
VERSION = "9.8.7"
NAME = f"session_worker-{VERSION}"
KEPT = f"schemas/json/released/v{VERSION}"
CHANGELOG = f"# Changelog\n\n## Unreleased\n\n## {VERSION} — 2026-12-01\n\nThis and that.\n"
BILL = f"{NAME}.cdx.json"
PACKAGES = pinned(ROOT / "requirements" / "worker.lock")

# Stands for `make`: notes what it is asked for, and fails at what the file `broken` names. The file `bill` is
# its bill of materials.
_MAKE = """#!/bin/sh
here=$(dirname "$0")
echo "$*" | sed "s#SBOM=.*/#SBOM=#" >> "$here/asked"
if [ "$1" = sbom ]; then cp "$here/bill" "${2#SBOM=}"; fi
! grep -qx "$1" "$here/broken" 2>/dev/null
"""
# Stands for what writes the documents of a version.
_DOCUMENTS = f"""import pathlib
folder = pathlib.Path("{KEPT}")
folder.mkdir(parents=True)
(folder / "a.json").write_text("as it is now")
"""


def bill_of(packages: dict[str, str], version: str = VERSION) -> str:
    return json.dumps(
        {
            "metadata": {"component": {"name": "session-worker", "version": version}},
            "components": [{"name": name, "version": number} for name, number in packages.items()],
        }
    )


class Repository:
    """A repository at a version that may be released."""

    def __init__(self, place: Path) -> None:
        self.root = place / "repository"
        self.tools = place / "tools"
        self.tools.mkdir()
        (self.tools / "bill").write_text(bill_of(PACKAGES), "utf-8")
        (self.tools / "make").write_text(_MAKE, "utf-8")
        (self.tools / "make").chmod(0o755)
        self.write("CHANGELOG.md", CHANGELOG)
        self.git("init", "--quiet")

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text, "utf-8")

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text("utf-8")
        assert old in text
        self.write(file, text.replace(old, new))

    def git(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 — git
            ["git", *arguments],  # noqa: S607 — as above
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A commit")

    @property
    def asked(self) -> list[str]:
        """The targets that `make` was asked for."""
        noted = self.tools / "asked"
        return noted.read_text("utf-8").splitlines() if noted.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        names = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
        whose = {f"GIT_{name}": "a@b.example" for name in names}
        path = f"{self.tools}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull, **whose}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """One whose version's documents are kept, and which has nothing to build."""
    made = Repository(tmp_path)
    made.write("pyproject.toml", f'[project]\nversion = "{VERSION}"\n')
    made.write("tests/support/contract/documents.py", _DOCUMENTS)
    made.write(f"{KEPT}/a.json", "as it is now")
    shutil.copytree(ROOT / "requirements", made.root / "requirements")
    made.commit()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def stopped(at: Repository, version: str = VERSION) -> str:
    """The sentence that a release ends with when it may not be made."""
    with pytest.raises(NotReadyError) as told:
        release.release(at.root, version, dry_run=False)
    assert at.git("tag", "--list", f"v{VERSION}") == ""
    assert not (at.root / "dist").exists()
    return str(told.value)


def test_what_can_be_told_at_once_stops_it_before_anything_is_made(small: Repository) -> None:
    assert "'9.8' is no version" in stopped(small, "9.8")
    assert "'' is no version" in stopped(small, "")
    assert "pyproject.toml says 9.8.7: set it to 9.8.8" in stopped(small, "9.8.8")
    small.write("new.py", "")
    assert "not everything is committed:\n?? new.py" in stopped(small)
    small.commit()
    small.git("tag", f"v{VERSION}")
    with pytest.raises(NotReadyError, match=r"v9\.8\.7 is tagged already"):
        release.release(small.root, VERSION, dry_run=False)
    small.git("tag", "--delete", f"v{VERSION}")
    without_day = CHANGELOG.replace("2026-12-01", "unreleased (2026-12-01)")
    another = CHANGELOG.replace(VERSION, "9.8.6")
    empty = CHANGELOG.replace("This and that.", "## 9.8.6 — 2026-11-01\n\nThe one before.")
    for changelog in (without_day, another, empty):
        small.write("CHANGELOG.md", changelog)
        assert "CHANGELOG.md has no section `## 9.8.7 — YYYY-MM-DD` with a text" in stopped(small)
    assert small.asked == []


@pytest.mark.parametrize("kept", [None, "as it was"])
def test_the_documents_are_kept_first_so_that_the_tests_see_them(small: Repository, kept: str | None) -> None:
    if kept:
        small.write(f"{KEPT}/a.json", kept)
    else:
        shutil.rmtree(small.root / KEPT)
    small.commit()

    assert f"{KEPT} now holds the documents of 9.8.7: commit them" in stopped(small)
    assert small.git("status", "--porcelain", "-uall").split() == ["M" if kept else "??", f"{KEPT}/a.json"]
    assert (small.root / KEPT / "a.json").read_text("utf-8") == "as it is now"
    assert small.asked == []


def test_a_test_that_fails_stops_it(small: Repository) -> None:
    (small.tools / "broken").write_text("test\n", "utf-8")

    assert "`make test PYTEST_ARGS=` failed" in stopped(small)


def test_a_dry_run_does_all_but_the_tests_and_writes_nothing(
    small: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(small.root / KEPT)
    small.commit()
    monkeypatch.setattr(release, "build", lambda *_, **__: [])
    monkeypatch.setattr(release, "check_contents", lambda *_: None)

    release.release(small.root, VERSION, dry_run=True)

    said = capsys.readouterr().out
    assert "9.8.7 can be released once the tests pass" in said
    assert "a release would write them" in said
    assert small.asked == ["check", f"sbom SBOM={BILL}"]
    assert small.git("status", "--porcelain", "--ignored") == ""
    assert small.git("tag") == ""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of this repository whose version is released; one file in its folder nobody has committed."""
    made = Repository(tmp_path_factory.mktemp("released"))
    for folder in ("schemas", "session_worker", "worker", "tests/support"):
        shutil.copytree(ROOT / folder, made.root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "MANIFEST.in", "README.md", "deploy/public_name.py", "pyproject.toml"):
        made.write(file, (ROOT / file).read_text("utf-8"))
    shutil.copytree(ROOT / "requirements", made.root / "requirements")
    made.write(".gitignore", "*.egg-info/\ndist/\nworker/lies_here.py\n")
    made.replace("pyproject.toml", 'version = "0.1.0"', f'version = "{VERSION}"')
    for name, document in json_documents().items():
        made.write(f"{KEPT}/{name}", json.dumps(document, separators=(",", ":")) + "\n")
    made.commit()
    made.write("worker/lies_here.py", "")
    done = subprocess.run(  # noqa: S603 — the script of this repository
        [sys.executable, release.__file__, VERSION],
        cwd=made.root,
        env=made.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made


def built(at: Repository) -> list[Path]:
    """The wheel, the sdist and the bill of materials."""
    files = (at.root / "dist").iterdir()
    return sorted(files, key=lambda file: (".whl", ".gz", ".json").index(file.suffix))


def test_a_release_is_tested_and_its_packages_hold_what_is_committed(released: Repository) -> None:
    assert released.asked == ["check", "test PYTEST_ARGS=", f"sbom SBOM={BILL}"]
    assert released.git("rev-parse", f"v{VERSION}^{{commit}}") == released.git("rev-parse", "HEAD")
    assert released.git("cat-file", "-t", f"v{VERSION}") == "tag"

    wheel, sdist, bill = built(released)
    kept = released.root / release.LAST / wheel.name
    assert kept.read_bytes() == wheel.read_bytes()
    assert list(kept.parent.iterdir()) == [kept], "the wheel of the release before is gone"
    changed = released.git("status", "--porcelain").splitlines()
    assert {line.split()[-1].rpartition("/")[0] for line in changed} == {str(release.LAST)}
    assert bill.name == BILL
    with zipfile.ZipFile(wheel) as archive:
        _is_complete(set(archive.namelist()), "session_worker/_worker", "session_worker/_schemas")
        assert f"Version: {VERSION}" in archive.read(f"{NAME}.dist-info/METADATA").decode()
        assert archive.read(f"{NAME}.dist-info/top_level.txt").split() == [b"session_worker"]
    with tarfile.open(sdist) as packed:
        _is_complete(set(packed.getnames()), f"{NAME}/worker", f"{NAME}/schemas")


def _is_complete(names: set[str], worker: str, schemas: str) -> None:
    for file in ("py.typed", "json/asyncapi.json", "json/session.schema.json"):
        assert f"{schemas}/{file}" in names
    for file in ("py.typed", "app.py", "postgres/sql/queries.sql", "console/static/htmx.LICENSE"):
        assert f"{worker}/{file}" in names
    assert [name for name in names if "/sql/migrations/0" in name]
    assert [name for name in names if "tests/" in name or "released" in name or "lies_here" in name] == []


def test_packages_that_lack_a_file_or_have_another_one_are_no_release(released: Repository) -> None:
    packages = built(released)[:2]
    wanted = release.packaged(released.root) - {"worker/lies_here.py"}
    release.check_contents(packages, wanted, VERSION)

    for name in ("worker/postgres/sql/more.sql", "schemas/json/more.json", "session_worker/more.py"):
        with pytest.raises(NotReadyError, match=f"whl lacks: {release.in_wheel(name)}"):
            release.check_contents(packages, wanted | {name}, VERSION)
    with pytest.raises(NotReadyError, match=r"whl has what it must not: session_worker/_worker/app\.py"):
        release.check_contents(packages, wanted - {"worker/app.py"}, VERSION)
    for kind in (".sql", ".typed", ".html"):
        with pytest.raises(NotReadyError, match=f"no {kind} file"):
            release.check_contents(packages, {name for name in wanted if not name.endswith(kind)}, VERSION)
    with pytest.raises(NotReadyError, match=r"not the wheel and the sdist of 9\.8\.8"):
        release.check_contents(packages, wanted, "9.8.8")


def test_packages_that_tell_where_they_were_built_are_no_release(tmp_path: Path) -> None:
    here, there = tmp_path / "a.whl", tmp_path / "b.whl"
    here.write_bytes(b"built in /a")
    there.write_bytes(b"built in /b")

    release.check_same([here], [here])
    with pytest.raises(NotReadyError, match=r"a\.whl has other bytes when it is built again"):
        release.check_same([here], [there])


@pytest.fixture(scope="module")
def project(released: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Someone's project, which has modules with the names of this repository's folders."""
    folder = tmp_path_factory.mktemp("project")
    with zipfile.ZipFile(built(released)[0]) as wheel:
        wheel.extractall(folder / "installed")  # noqa: S202 — it was built here
    return folder


def test_its_wheel_works_beside_a_worker_and_schemas_of_a_user(project: Path) -> None:
    texts = {
        "worker.py": "def room_name(session_id, name):\n    if name == 'broken':\n        raise ValueError\n"
        "    return f'room-{session_id}'\n",
        "schemas/__init__.py": "from schemas.room import Room\n",
        "schemas/room.py": "class Room(dict):\n    pass\n",
        "before.py": "from worker.handlers import Context\n",
        "rooms.py": "import schemas\nimport worker\nfrom session_worker.handlers import Context\n\n\n"
        "async def create(request, context: Context):\n"
        "    return schemas.Room(room=worker.room_name(context.session_id, request.payload.name))\n",
    }
    for file, text in texts.items():
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).write_text(text, "utf-8")

    done = subprocess.run(  # noqa: S603 — this interpreter
        [sys.executable, "-P", "-W", "error", ROOT / "tests" / "support" / "from_wheel.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{project}:{project / 'installed'}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "nothing is wrong" in done.stdout


@pytest.mark.parametrize(
    ("bill", "wrong"),
    [
        (bill_of(PACKAGES, "9.8.6"), "is not of version 9.8.7"),
        (bill_of({"another": "1"} | PACKAGES), "has what it must not: another==1"),
        (bill_of({name: PACKAGES[name] for name in PACKAGES if name != "asyncpg"}), "lacks: asyncpg=="),
    ],
)
def test_a_bill_of_materials_is_of_this_version_and_whole(small: Repository, bill: str, wrong: str) -> None:
    (small.tools / "bill").write_text(bill, "utf-8")

    with pytest.raises(NotReadyError, match=wrong):
        release.bill_of_materials(ROOT, small.root / BILL, VERSION)


# Stands for `docker`: notes what it is asked for, and the files that it is given to build from.
_DOCKER = """#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$@" > "$here/built"
tar --list > "$here/files"
"""


def test_an_image_is_of_a_commit_and_has_its_labels_and_tags(small: Repository) -> None:
    (small.tools / "docker").write_text(_DOCKER, "utf-8")
    (small.tools / "docker").chmod(0o755)
    head = small.git("rev-parse", "HEAD")

    def built_image(source: str = "") -> tuple[list[str], dict[str, str]]:
        build_image.build(small.root, build_image.commit_of(small.root), source)
        words = (small.tools / "built").read_text("utf-8").splitlines()
        assert (words[0], words[-1]) == ("build", "-")
        tags = [word.removeprefix("--tag=") for word in words if word.startswith("--tag=")]
        labels = [word.removeprefix("--label=org.opencontainers.image.") for word in words if "label" in word]
        return tags, dict(label.split("=", 1) for label in labels)

    tags, labels = built_image()
    assert tags == [f"session-worker:{VERSION}-{head[:12]}"], "this commit is no release"
    assert labels.keys() == {"version", "revision", "created"}
    assert (labels["version"], labels["revision"]) == (f"{VERSION}+{head[:12]}", head)
    assert labels["created"] == small.git("show", "--no-patch", "--format=%cI")

    small.git("tag", f"v{VERSION}")
    tags, labels = built_image("https://example.com/session-worker")
    assert tags == ["session-worker:9.8.7", "session-worker:9.8", "session-worker:latest"]
    assert (labels["version"], labels["source"]) == (VERSION, "https://example.com/session-worker")
    assert "pyproject.toml" in (small.tools / "files").read_text("utf-8").split()

    small.write("new.py", "")
    with pytest.raises(build_image.NotCommittedError, match=r"new\.py"):
        build_image.commit_of(small.root)
