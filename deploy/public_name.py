"""Builds the packages: setuptools does it, of a copy in which all code has the name `session_worker`.

`worker` and `schemas` are names that users have for their own modules. So a wheel holds `worker/` as
`session_worker/_worker/`, and `schemas/` as `session_worker/_schemas/`, and its imports say so. An sdist
holds the repository's folders as they are, and an editable install imports from them.

The same files give the same bytes, whoever builds them, where and when, with the same Python and setuptools.
"""

import ast
import gzip
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import build_editable, prepare_metadata_for_build_editable

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

NAMES = {"worker": "session_worker._worker", "schemas": "session_worker._schemas"}
_Settings = Mapping[str, Any] | None


class CannotRenameError(Exception):
    """An import has no form under the other name; the text says where it is."""


def build_sdist(sdist_directory: str, config_settings: _Settings = None) -> str:
    """Build it, and leave out of it who built it, when, and with which umask."""
    name: str = build_meta.build_sdist(sdist_directory, config_settings)
    file, packed = Path(sdist_directory, name), io.BytesIO()
    with (
        tarfile.open(file) as archive,
        gzip.GzipFile("", "wb", fileobj=packed, mtime=_moment()) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as anew,
    ):
        for member in sorted(archive, key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, _moment()
            plain.mode = 0o755 if member.isdir() else 0o644
            anew.addfile(plain, archive.extractfile(member))
    file.write_bytes(packed.getvalue())
    return name


def build_wheel(wheel_directory: str, config_settings: _Settings = None, _metadata: str | None = None) -> str:
    with _renamed(wheel_directory) as place:
        name: str = build_meta.build_wheel(place, config_settings)
    return name


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: _Settings = None) -> str:
    with _renamed(metadata_directory) as place:
        name: str = build_meta.prepare_metadata_for_build_wheel(place, config_settings)
    return name


def _moment() -> int:
    """Return the time that everything in a package has; by itself it is the first that a wheel can tell."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))


@contextmanager
def _renamed(place: str) -> Iterator[str]:
    """Work in a copy of this folder with the public names; gives the path of `place` from there."""
    here, place = Path.cwd(), os.path.abspath(place)  # noqa: PTH100 — it may not exist yet
    umask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _copy(here, Path(folder))
            os.environ["SOURCE_DATE_EPOCH"] = str(_moment())
            os.chdir(folder)
            try:
                yield place
            finally:
                os.chdir(here)
    finally:
        os.umask(umask)


def _copy(source: Path, copy: Path) -> None:
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copyfile(source / file, copy / file)
    for package in ("session_worker", *NAMES):
        target = copy / NAMES.get(package, package).replace(".", "/")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / package, target, ignore=ignored, copy_function=shutil.copyfile)
    for module in copy.rglob("*.py"):
        module.write_bytes(renamed(module.read_bytes(), module.relative_to(copy)))


def renamed(source: bytes, path: Path) -> bytes:
    """Let the imports of a module name the packages as a wheel has them. No line moves."""
    lines = source.splitlines(keepends=True)
    for node in _statements(ast.parse(source, path)):
        match node:
            case ast.ImportFrom(module=str(name), level=0) if _is_ours(name):
                word = "from"
            case ast.Import(names=[ast.alias(name=name, asname=str())]) if _is_ours(name):
                word = "import"
            case ast.Import(names=names) if any(_is_ours(each.name) for each in names):
                raise CannotRenameError(f"{path}:{node.lineno}: write `from … import …`, or `import … as …`")
            case _:
                continue
        line, first, old = lines[node.lineno - 1], node.col_offset, f"{word} {name}".encode()
        if not line.startswith(old, first):
            raise CannotRenameError(f"{path}:{node.lineno}: write `{old.decode()}` with one space between")
        top = name.partition(".")[0]
        new = f"{word} {NAMES[top]}{name.removeprefix(top)}".encode()
        lines[node.lineno - 1] = line[:first] + new + line[first + len(old) :]
    return b"".join(lines)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements beneath a node. To look into expressions, too, would take most of the time."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from _statements(child)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in NAMES
