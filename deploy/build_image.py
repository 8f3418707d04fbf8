"""Builds the image of a commit, with its labels and tags: `make image`. It uploads nothing.

A commit that is tagged as the version gets the tags 1.2.3, 1.2 and latest; any other one 1.2.3-COMMIT.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

NAME = "session-worker"
_SHORT = 12


class NotCommittedError(Exception):
    """The image would not be of the commit that its labels name; the text says what is not committed."""


class Commit(NamedTuple):
    """What is built."""

    version: str
    revision: str
    created: str  # when it was committed, so that the same commit gives the same labels
    is_release: bool


def commit_of(root: Path) -> Commit:
    """Read what is checked out. Raises NotCommittedError."""
    if changed := _git(root, "status", "--porcelain"):
        raise NotCommittedError(f"an image is of a commit, and not everything is committed:\n{changed}")
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    revision, created = _git(root, "show", "--no-patch", "--format=%H %cI", "HEAD").split()
    is_release = f"v{version}" in _git(root, "tag", "--points-at", "HEAD").split()
    return Commit(version=version, revision=revision, created=created, is_release=is_release)


def labels(commit: Commit, source: str) -> dict[str, str]:
    """Return the labels that the Dockerfile cannot know; `source`: where the repository is, if it is told."""
    built = "" if commit.is_release else f"+{commit.revision[:_SHORT]}"
    known = {"version": f"{commit.version}{built}", "revision": commit.revision, "created": commit.created}
    found = {**known, "source": source} if source else known
    return {f"org.opencontainers.image.{name}": value for name, value in found.items()}


def tags(commit: Commit) -> list[str]:
    """Return the names that the image gets."""
    if not commit.is_release:
        return [f"{NAME}:{commit.version}-{commit.revision[:_SHORT]}"]
    return [f"{NAME}:{tag}" for tag in (commit.version, commit.version.rpartition(".")[0], "latest")]


def build(root: Path, commit: Commit, source: str) -> None:
    """Build it from what is committed, and from nothing else that lies in the folder."""
    asked = [f"--tag={tag}" for tag in tags(commit)]
    asked += [f"--label={name}={value}" for name, value in labels(commit, source).items()]
    packing, building = ("git", "archive", commit.revision), ("docker", "build", *asked, "-")
    packed = subprocess.run(packing, cwd=root, stdout=subprocess.PIPE, check=True)  # noqa: S603 — git
    subprocess.run(building, input=packed.stdout, check=True)  # noqa: S603 — Docker


def _git(root: Path, *words: str) -> str:
    command = ("git", *words)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 — git
    return done.stdout.strip()


def main() -> None:
    root = Path.cwd()
    try:
        commit = commit_of(root)
    except NotCommittedError as reason:
        sys.exit(f"image: {reason}")
    try:
        build(root, commit, os.environ.get("SOURCE", ""))
    except subprocess.CalledProcessError as failed:
        sys.exit(f"image: `{failed.cmd[0]} {failed.cmd[1]}` failed, see above")
    except FileNotFoundError:
        sys.exit("image: docker is needed, and is not in the PATH")
    print("\n".join(tags(commit)))


if __name__ == "__main__":
    main()
