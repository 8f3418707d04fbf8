"""Makes a release: `make release VERSION=1.2.3`. It uploads nothing.

Checks that this commit may be that version, runs `make check` and `make test`, builds the sdist and the
wheel from the commit alone, twice, checks that both builds are the same and what is in them, has `make sbom`
list what the image holds, puts all of it into dist/, and sets the tag. With --dry-run it runs no tests, sets
no tag and writes nothing into the repository.
"""

import argparse
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

from judged import pinned

# The folders of code, and where a wheel has them.
PACKAGES = {
    "schemas": "session_worker/_schemas",
    "session_worker": "session_worker",
    "worker": "session_worker/_worker",
}
BUILDS = {"MANIFEST.in", "deploy/public_name.py", "pyproject.toml", "setup.cfg"}
KEPT = PurePosixPath("schemas/json/released")
LAST = PurePosixPath("tests/support/released")
KINDS = (".sql", ".json", ".typed", ".html", ".css", ".js", ".svg", ".LICENSE")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class NotReadyError(Exception):
    """A release cannot be made; the text says why, and what to do."""


def release(root: Path, version: str, *, dry_run: bool) -> None:
    check_state(root, version)
    commit = output(root, "git", "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as place:
        source = export(root, commit, Path(place))
        check_documents(root, source, version, dry_run=dry_run)
        run(root, "make", "check")
        if not dry_run:
            run(root, "make", "test", "PYTEST_ARGS=")
        moment = output(root, "git", "show", "--no-patch", "--format=%ct", commit)
        built = build(source, Path(place) / "dist", moment)
        elsewhere = export(root, commit, Path(place) / "elsewhere")
        check_same(built, build(elsewhere, Path(place) / "again", moment, umask=0o077))
        check_contents(built, packaged(source), version)
        built.append(bill_of_materials(root, Path(place) / f"session_worker-{version}.cdx.json", version))
        if dry_run:
            say(f"{version} can be released once the tests pass; nothing was written, and no tag is set")
            return
        (root / "dist").mkdir(exist_ok=True)
        for file in built:
            shutil.copy(file, root / "dist")
        keep_wheel(root, next(file for file in built if file.suffix == ".whl"))
    run(root, "git", "tag", "--annotate", "--message", f"Version {version}", f"v{version}", commit)
    say(f"v{version} is tagged; dist/ has {', '.join(file.name for file in built)}; nothing is uploaded")
    say(f"{LAST} has its wheel now, for the tests of the next version: commit it")
    say("`make image` builds the image of it")


def check_state(root: Path, version: str) -> None:
    """Checks what can be told from the files and from git, before anything takes time."""
    if not _VERSION.fullmatch(version):
        raise NotReadyError(f"{version!r} is no version: three numbers with dots, as 1.2.3")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    if project["version"] != version:
        raise NotReadyError(f"pyproject.toml says {project['version']}: set it to {version} and commit it")
    heading = rf"^## {re.escape(version)} — \d{{4}}-\d\d-\d\d\n+(?!##)\S"
    if not re.search(heading, (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE):
        raise NotReadyError(f"CHANGELOG.md has no section `## {version} — YYYY-MM-DD` with a text")
    if changed := output(root, "git", "status", "--porcelain"):
        raise NotReadyError(f"not everything is committed:\n{changed}")
    if output(root, "git", "tag", "--list", f"v{version}"):
        raise NotReadyError(f"v{version} is tagged already")


def export(root: Path, commit: str, place: Path) -> Path:
    """Copies what is committed, and nothing else that lies in the folder."""
    source, packed = place / "source", place / "source.tar"
    place.mkdir(exist_ok=True)
    run(root, "git", "archive", "--output", str(packed), commit)
    with tarfile.open(packed) as archive:
        archive.extractall(source, filter="data")
    return source


def check_documents(root: Path, source: Path, version: str, *, dry_run: bool) -> None:
    """Checks that this version's documents are kept and committed: later versions are compared with them.

    A first run keeps them and stops, for the tests judge the commit that has them.
    """
    kept = KEPT / f"v{version}"
    committed = contents(source / kept)
    shutil.rmtree(source / kept, ignore_errors=True)
    paths = {"PYTHONPATH": f"{source}{os.pathsep}{source / 'tests'}"}
    run(source, sys.executable, "tests/support/contract/documents.py", "--release", environment=paths)
    if contents(source / kept) == committed:
        return
    if dry_run:
        say(f"{kept} does not hold the documents of {version} yet: a release would write them")
        return
    shutil.rmtree(root / kept, ignore_errors=True)
    shutil.copytree(source / kept, root / kept)
    raise NotReadyError(f"{kept} now holds the documents of {version}: commit them, and run this again")


def keep_wheel(root: Path, wheel: Path) -> None:
    """Keeps it in place of the last release's: tests run it beside the next version."""
    for other in (root / LAST).glob("*.whl"):
        other.unlink()
    shutil.copy(wheel, root / LAST)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.json")}


def build(source: Path, place: Path, moment: str, *, umask: int = -1) -> list[Path]:
    """Builds the sdist, and from it the wheel, with what is installed: no index is asked."""
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place))
    run(source, *command, environment={"PYTHONPATH": "", "SOURCE_DATE_EPOCH": moment}, umask=umask)
    return sorted(place.iterdir())


def check_same(built: list[Path], again: list[Path]) -> None:
    """Checks that the packages do not tell where, when and by whom they were built."""
    for one, other in zip(built, again, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise NotReadyError(f"{one.name} has other bytes when it is built again, in another folder")


def bill_of_materials(root: Path, file: Path, version: str) -> Path:
    """Makes the list of what the image holds (an SBOM); checks that it is of this version, and whole."""
    run(root, "make", "sbom", f"SBOM={file}")
    bill = json.loads(file.read_text("utf-8"))
    if bill["metadata"]["component"].get("version") != version:
        raise NotReadyError(f"{file.name} is not of version {version}")
    held = {f"{each['name'].lower()}=={each['version']}" for each in bill["components"]}
    wanted = {f"{name}=={number}" for name, number in pinned(root / "requirements" / "worker.lock").items()}
    _compare(file.name, held, wanted)
    return file


def packaged(source: Path) -> set[str]:
    """The files that a package has to hold, no more and no fewer: modules, and what they read."""
    wanted = (".py", *KINDS)
    files = (file for package in PACKAGES for file in (source / package).rglob("*") if file.suffix in wanted)
    names = {file.relative_to(source).as_posix() for file in files}
    return {name for name in names if not PurePosixPath(name).is_relative_to(KEPT)}


def in_wheel(name: str) -> str:
    """Returns where a wheel has a file of the repository."""
    package, _, path = name.partition("/")
    return f"{PACKAGES[package]}/{path}"


def check_contents(built: list[Path], wanted: set[str], version: str) -> None:
    for kind in KINDS:
        if not any(name.endswith(kind) for name in wanted):
            raise NotReadyError(f"the repository holds no {kind} file for the packages")
    name = f"session_worker-{version}"
    names = [file.name for file in built]
    if names != [f"{name}-py3-none-any.whl", f"{name}.tar.gz"]:
        raise NotReadyError(f"{names} were built, not the wheel and the sdist of {version}")
    wheel, sdist = built
    _check_wheel(wheel, wanted, name, version)
    _check_sdist(sdist, wanted, name)


def _check_sdist(file: Path, wanted: set[str], name: str) -> None:
    with tarfile.open(file) as archive:
        held = {member.name.removeprefix(f"{name}/") for member in archive if member.isfile()}
    made = {held_name for held_name in held if held_name.startswith("session_worker.egg-info/")}
    _compare(file.name, held - made, wanted | BUILDS | {"LICENSE", "PKG-INFO", "README.md"})


def _check_wheel(file: Path, wanted: set[str], name: str, version: str) -> None:
    with zipfile.ZipFile(file) as archive:
        held = set(archive.namelist())
        noted = email.message_from_bytes(archive.read(f"{name}.dist-info/METADATA"))
    described = {held_name for held_name in held if held_name.startswith(f"{name}.dist-info/")}
    _compare(file.name, held - described, {in_wheel(path) for path in wanted})
    if f"{name}.dist-info/licenses/LICENSE" not in described:
        raise NotReadyError(f"{file.name} has no license")
    if noted["Version"] != version:
        raise NotReadyError(f"{file.name} says that it is version {noted['Version']}")


def _compare(name: str, held: set[str], wanted: set[str]) -> None:
    for words, names in (("lacks", wanted - held), ("has what it must not", held - wanted)):
        if names:
            raise NotReadyError(f"{name} {words}: {', '.join(sorted(names))}")


def run(folder: Path, *command: str, environment: dict[str, str] | None = None, umask: int = -1) -> None:
    try:
        subprocess.run(  # noqa: S603 — the commands of this file
            command, cwd=folder, env={**os.environ, **(environment or {})}, umask=umask, check=True
        )
    except subprocess.CalledProcessError as failed:
        raise NotReadyError(f"`{' '.join(command)}` failed, see above") from failed


def output(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 — as above
    return done.stdout.rstrip()


def say(sentence: str) -> None:
    print(f"release: {sentence}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a release of what is committed; uploads nothing.")
    parser.add_argument("version", help="the version that pyproject.toml has, as 1.2.3")
    parser.add_argument("--dry-run", action="store_true", help="check and build; write nothing, set no tag")
    options = parser.parse_args()
    try:
        release(Path.cwd(), options.version, dry_run=options.dry_run)
    except NotReadyError as reason:
        sys.exit(f"release: {reason}")


if __name__ == "__main__":
    main()
