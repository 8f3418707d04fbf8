"""Reads what is on record about a request: its row, history, failed attempts, session and response."""

import json
from typing import Any, TypedDict
from uuid import UUID

from worker.postgres.database import Database

SEALED = "(sealed)"
_SEALED_FORM = "sealed:"

Row = dict[str, Any]


class Record(TypedDict):
    """A request as the tables have it. `attempts` are those that failed; `session` and `response` are None
    while there is none.
    """

    request: Row
    history: list[Row]
    attempts: list[Row]
    session: Row | None
    response: dict[str, Any] | None


async def find(database: Database, request_id: UUID) -> Record | None:
    """Read all that is on record about a request; a sealed credential is shown as `SEALED`."""
    requests = await _rows(database, "look_up", request_id)
    if not requests:
        return None
    (request,) = requests
    response = request.pop("response")
    sessions = await _rows(database, "session_of", request_id)
    for session in sessions:
        session["document"] = _without_secrets(json.loads(session["document"]))
    return Record(
        request=request,
        history=await _rows(database, "history", request_id),
        attempts=await _rows(database, "attempts_of", request_id),
        session=sessions[0] if sessions else None,
        response=json.loads(response) if response else None,
    )


async def body_of(database: Database, request_id: UUID) -> Any:  # noqa: ANN401 — any JSON
    """Read a request as it was accepted, with `SEALED` for credentials; None: it was refused at the door."""
    rows = await _rows(database, "body_of", request_id)
    return _without_secrets(json.loads(rows[0]["body"])) if rows and rows[0]["body"] is not None else None


async def _rows(database: Database, query: str, request_id: UUID) -> list[Row]:
    return [dict(row) for row in await database.call(query, request_id, aside=True)]


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 — any JSON
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return SEALED if isinstance(value, str) and value.startswith(_SEALED_FORM) else value
