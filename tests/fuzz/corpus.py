"""Keeps messages that once did harm, or nearly: each is a file, and is judged in every run of the tests."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.cases import Case

FOLDER = Path(__file__).parent / "corpus"


def corpus() -> Iterator[tuple[str, Case]]:
    """Yield each message with its name."""
    for file in sorted(FOLDER.glob("*.json")):
        yield file.stem, _read(json.loads(file.read_text("utf-8")))


def kept(name: str, about: str, case: Case) -> Path:
    """Write a message into the corpus. Its properties have to be JSON."""
    file = FOLDER / f"{name}.json"
    how = {field: value for field, value in case._asdict().items() if field != "body" and value}
    file.write_text(json.dumps({"about": about, **_body(case.body), **how}, indent=1) + "\n", "utf-8")
    return file


def _body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": [body.decode()]}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _read(kept: dict[str, Any]) -> Case:
    """Make the case of a file. A part of a body that is `[text, times]` is repeated."""
    how = {name: value for name, value in kept.items() if name not in ("about", "body", "base64")}
    if "base64" in kept:
        body = base64.b64decode(kept["base64"])
    else:
        body = "".join(part if isinstance(part, str) else part[0] * part[1] for part in kept["body"]).encode()
    return Case(body=body, **{"properties": {}, **how})
