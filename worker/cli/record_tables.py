"""What is on record about a request, for people."""

import json
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType

from worker.cli.delivery import delivery
from worker.cli.output import coloured, facts, grid, plain

Found = dict[str, Any]


def render(found: Found) -> RenderableType:
    """For people: the request, its history, its session and its response."""
    request, session, response = found["request"], found["session"], found["response"]
    rows = _request_rows(request)
    rows.insert(2, ("delivery", delivery(request)))
    parts: list[RenderableType] = [facts("request", rows)]
    history = grid("history", "time", "status", "attempt", "worker", cut=["worker"])
    for step in found["history"]:
        history.add_row(
            at(step["at"]), coloured(step["status"]), str(step["attempt"]), str(step["worker"] or "")
        )
    parts.append(history)
    if found["attempts"]:
        parts.append(_attempts(found["attempts"]))
    if session is not None:
        rows = [
            (name, _plain(value)) for name, value in session.items() if name not in ("request_id", "document")
        ]
        known = {name for name, _ in rows}
        rows += [(name, _plain(value)) for name, value in session["document"].items() if name not in known]
        parts.append(facts("session", rows))
    if response is not None:
        parts.append(facts("response", [("", json.dumps(response, indent=2, ensure_ascii=False))]))
    return Group(*parts)


def _attempts(attempts: list[Found]) -> RenderableType:
    """Why the attempts that failed did: a line for each thing that is known of one, which may be long."""
    table = grid("failed attempts", "attempt", "what it failed of")
    for one in attempts:
        known = (one["reason"], one["place"], one["worker"] and f"worker {one['worker']}")
        lines = (f"{at(one['at'])} {one['kind']}", *(str(each) for each in known if each))
        table.add_row(str(one["attempt"]), plain("\n".join(lines)))
    return table


def _request_rows(request: Found) -> list[tuple[str, object]]:
    return [(name, coloured(value) if name == "status" else _plain(value)) for name, value in request.items()]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return at(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
