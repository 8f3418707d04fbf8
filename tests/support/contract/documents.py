"""Generates all documents that come from the code, and knows where their copies are checked in.

`make generate` writes them anew. With `--release` it keeps the JSON documents as those of the version in
pyproject.toml, which later ones must stay compatible with; `make release` does so.
"""

import contextlib
import io
import json
import sys
import textwrap
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from support import architecture, commands_page, doctor_table, drawn, python_page, tables_page
from support.contract import typescript
from support.contract.page import page
from support.kubernetes import kustomize

from schemas import json_schemas
from worker.asyncapi import document
from worker.cli.log_events_table import log_events_table
from worker.cli.main import main
from worker.cli.metrics_table import metrics_table
from worker.cli.settings_table import settings_table
from worker.console.api.openapi import document as openapi
from worker.console.routes import ROUTES
from worker.rabbitmq.access import Actor

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "schemas" / "json"
RELEASED = FOLDER / "released"
OBSERVABILITY = ROOT / "deploy" / "observability"
RIGHTS = {  # what docker-compose.yml loads, and the command that prints it
    **{f"rabbitmq/{actor}.json": ("access", "rabbitmq", "--role", actor.value) for actor in Actor},
    "postgres/2-migrator.sql": ("access", "postgres", "--role", "migrator"),
}


def json_documents() -> dict[str, dict[str, Any]]:
    """Returns the JSON documents, which the caller may change: they are made once, and read for each."""
    documents: dict[str, dict[str, Any]] = json.loads(_json())
    return documents


def asyncapi() -> dict[str, Any]:
    return json_documents()["asyncapi.json"]


@cache
def _json() -> str:
    return json.dumps({**json_schemas(), "asyncapi.json": document()})


@cache
def texts() -> dict[Path, str]:
    """Returns every generated file's content."""
    made = {FOLDER / name: json.dumps(found, indent=2) + "\n" for name, found in json_documents().items()}
    docs = ROOT / "docs"
    return {
        **made,
        docs / "asyncapi.md": page(asyncapi()),
        docs / "openapi.json": json.dumps(openapi(ROUTES), indent=1, ensure_ascii=False) + "\n",
        docs / "settings.md": settings_table(),
        docs / "commands.md": commands_page.page(),
        docs / "python.md": python_page.page(),
        architecture.PAGE: architecture.page(),
        doctor_table.PAGE: doctor_table.page(),
        OBSERVABILITY / "prometheus-rule.yaml": _prometheus_rule(),
        kustomize.RENDERED: kustomize.rendered_text(),
        tables_page.PAGE: tables_page.page(),
        docs / "metrics.md": drawn.page(docs / "metrics.md", lambda _: metrics_table()),
        docs / "log-events.md": drawn.page(docs / "log-events.md", lambda _: log_events_table()),
        **typescript.texts(_version()),
        **{ROOT / "deploy" / file: printed(*words) for file, words in RIGHTS.items()},
    }


def printed(*words: str) -> str:
    """Returns what a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert main(words) == 0, words
    return out.getvalue()


def _prometheus_rule() -> str:
    """Returns the rules as the Prometheus Operator takes them."""
    head = (
        "# Generated from rules.yml by `make generate`: the same rules for the Prometheus Operator.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        "metadata:\n  name: session-worker\nspec:\n"
    )
    return head + textwrap.indent((OBSERVABILITY / "rules.yml").read_text("utf-8"), "  ")


def latest_release() -> dict[str, dict[str, Any]]:
    """Returns the documents of the last released version, by their names."""
    folders = [folder for folder in RELEASED.iterdir() if folder.is_dir()]
    latest = max(folders, key=lambda folder: [int(part) for part in folder.name[1:].split(".")])
    return {file.name: json.loads(file.read_text("utf-8")) for file in latest.glob("*.json")}


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def _release() -> None:
    folder = RELEASED / f"v{_version()}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in json_documents().items():
        # Compact: kept to be compared with, not to be read.
        (folder / name).write_text(json.dumps(found, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    if "--release" in sys.argv[1:]:
        _release()
    else:
        for path, text in texts().items():
            path.write_text(text, "utf-8")
