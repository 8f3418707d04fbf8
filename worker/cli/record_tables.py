"""Shows what is on record about a request as tables, for people."""

import json
from datetime import datetime

from rich.console import Group, RenderableType

from worker.cli.tables import coloured, facts, grid, plain
from worker.operations.delivery import delivery
from worker.operations.record import Record, Row
from worker.operations.waits import COLUMNS, waits
from worker.traceparent import trace_id_in, trace_link

_STYLES = {"confirmed": "green", "unconfirmed": "yellow", "undelivered": "bold red"}
_NEWS_PLACE = 2  # below the request's status


def render(record: Record, trace_url: str) -> RenderableType:
    """Lay out the request, its history, failed attempts, session and response, one table each. `trace_url`:
    the setting.
    """
    parts = [_request(record["request"], trace_url), _history(record["history"])]
    if record["attempts"]:
        parts.append(_attempts(record["attempts"]))
    if record["session"] is not None:
        parts.append(_session(record["session"]))
    if record["response"] is not None:
        parts.append(facts("response", [("", json.dumps(record["response"], indent=2, ensure_ascii=False))]))
    return Group(*parts)


def trace_of(request: Row, trace_url: str) -> str | None:
    """Name the trace of a request, and where it can be looked at; None: it belongs to none."""
    known = trace_id_in(request["traceparent"]), trace_link(trace_url, request["traceparent"])
    return "  ".join(each for each in known if each) or None


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _request(request: Row, trace_url: str) -> RenderableType:
    rows: list[tuple[str, object]] = [
        (name, coloured(value) if name == "status" else _in_text(value))
        for name, value in request.items()
        if name not in (*COLUMNS, "traceparent")
    ]
    rows.append(("trace", trace_of(request, trace_url)))
    if told := delivery(request):
        rows.insert(_NEWS_PLACE, ("delivery", plain(told.text, _STYLES[told.state])))
    rows.insert(_NEWS_PLACE, ("waits", waits(request)))
    return facts("request", rows)


def _history(steps: list[Row]) -> RenderableType:
    table = grid("history", "time", "status", "attempt", "worker", cut=["worker"])
    for step in steps:
        table.add_row(
            at(step["at"]), coloured(step["status"]), str(step["attempt"]), str(step["worker"] or "")
        )
    return table


def _attempts(attempts: list[Row]) -> RenderableType:
    """Show why each attempt failed: a line for each thing that is known of it, which may be long."""
    table = grid("failed attempts", "attempt", "what it failed of")
    for attempt in attempts:
        known = (attempt["reason"], attempt["place"], attempt["worker"] and f"worker {attempt['worker']}")
        lines = (f"{at(attempt['at'])} {attempt['kind']}", *(str(each) for each in known if each))
        table.add_row(str(attempt["attempt"]), plain("\n".join(lines)))
    return table


def _session(session: Row) -> RenderableType:
    """Show the session's columns, then what only its document has."""
    columns = {name: value for name, value in session.items() if name not in ("request_id", "document")}
    rest = {name: value for name, value in session["document"].items() if name not in columns}
    return facts("session", [(name, _in_text(value)) for name, value in (columns | rest).items()])


def _in_text(value: object) -> object:
    if isinstance(value, datetime):
        return at(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
