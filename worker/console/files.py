"""Serves the files in static/, which change with a version only."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from worker.console.problems import not_found

_FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain",
}
_A_YEAR: Final = "public, max-age=31536000, immutable"


class _Files(NamedTuple):
    by_name: dict[str, bytes]
    version: str  # of all of them: it stands in their addresses, so that each may be kept for ever


async def static(request: Request) -> Response:
    """Serve a file."""
    name = request.path_params["file"]
    files = _files()
    if name not in files.by_name:
        raise not_found("There is no such file.")
    fresh = request.path_params["version"] == files.version
    return Response(
        files.by_name[name],
        media_type=_KINDS[Path(name).suffix],
        headers={"Cache-Control": _A_YEAR if fresh else "no-cache"},
    )


def version() -> str:
    """Return the version that stands in the addresses of the files."""
    return _files().version


@cache
def _files() -> _Files:
    by_name = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _KINDS}
    return _Files(by_name, hashlib.sha256(b"".join(by_name.values())).hexdigest()[:12])
