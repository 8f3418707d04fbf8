"""Makes the line that `session-worker --version` prints."""

import json
import platform
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from schemas.documents import CONTRACT_VERSION
from worker.process.identity import package_version

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_CHECKOUT = Path(__file__).parents[2]


def version_line() -> str:
    """The versions of the program, its contract and Python; from a repository or a checkout, its commit."""
    commit = _installed_commit() or commit_of(_CHECKOUT)
    built = f", commit {commit[:12]}" if commit else ""
    contract, python = f"contract {CONTRACT_VERSION}", f"Python {platform.python_version()}"
    return f"session-worker {package_version()}{built}, {contract}, {python}"


def _installed_commit() -> str | None:
    """The commit that pip noted when it installed this program from a repository."""
    try:
        noted = json.loads(distribution("session-worker").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    return _commit(str(noted.get("vcs_info", {}).get("commit_id", "")))


def commit_of(folder: Path) -> str | None:
    """The commit that is checked out in the folder, read from its files: git may not be installed."""
    git = folder / ".git"
    try:
        if git.is_file():  # one of several work trees
            git = folder / git.read_text("utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref:"):
            return _commit(head)
        return _at(git, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None


def _at(git: Path, ref: str) -> str | None:
    shared = git / "commondir"
    if shared.exists():
        git = git / shared.read_text("utf-8").strip()
    if (git / ref).exists():
        return _commit((git / ref).read_text("utf-8").strip())
    for line in (git / "packed-refs").read_text("utf-8").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
