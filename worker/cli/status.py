"""`session-worker status`."""

import argparse
import asyncio
import json
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from rich.console import Group, RenderableType
from rich.live import Live

from worker import log
from worker.cli import exits, running
from worker.cli.exits import CommandError
from worker.cli.output import coloured, emit, facts, grid, json_option, people, wait_option
from worker.cli.servers import reach, settings_for
from worker.database import PART, Database
from worker.failpoint import FailPoint
from worker.identity import new_identity
from worker.migrate import require_current
from worker.readiness import Readiness
from worker.settings import Settings
from worker.store import Store
from worker.tls import context_from

EXAMPLES = """\
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11 --watch
      until it is completed or failed
  session-worker status 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11 --json

With --watch the exit code is 0 for completed, 1 for failed, 4 when --timeout
was over first.
"""
SEALED = "(sealed)"
_LOOK_SECONDS = 0.5
_FINISHED = ("completed", "failed")

Found = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request_id", type=UUID, metavar="REQUEST_ID")
    parser.add_argument(
        "--watch", action="store_true", help="until it is finished; also one that has yet to arrive"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="watch no longer than this")
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return running.run(_status(options))


async def _status(options: argparse.Namespace) -> int:
    settings = settings_for(database=True)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    database = await open_database(settings, options.wait)
    try:
        store = Store(database, uuid4(), settings.lease_seconds)
        if options.watch:
            return await _watch(store, options)
        found = await reach("Postgres", lambda: find(store, options.request_id), options.wait)
        if found is None:
            raise _unknown(options.request_id)
        _print(found, as_json=options.json)
        return exits.OK
    finally:
        await database.close()


async def open_database(settings: Settings, wait_seconds: float) -> Database:
    """Connected, or a CommandError within the time."""
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    schema = await reach("Postgres", lambda: require_current(url, tls, settings.prefix), wait_seconds)
    database = Database(url, 1, tls, Readiness([PART]), FailPoint(""), application=new_identity().application)
    async with asyncio.timeout(wait_seconds):
        await database.open(schema)
    return database


async def find(store: Store, request_id: UUID) -> Found | None:
    """All that is on record about a request; what is sealed stays unseen."""
    request = await store.look_up(request_id)
    if request is None:
        return None
    session = await store.session_of(request_id)
    if session is not None:
        session["document"] = _without_secrets(json.loads(session["document"]))
    response = request.pop("response")
    return {
        "request": request,
        "history": await store.history(request_id),
        "session": session,
        "response": json.loads(response) if response else None,
    }


async def _watch(store: Store, options: argparse.Namespace) -> int:
    shown: Found | None = None
    try:
        with Live(console=people(), auto_refresh=False) as live:
            async with asyncio.timeout(options.timeout):
                while shown is None or shown["request"]["status"] not in _FINISHED:
                    found = await find(store, options.request_id)
                    if found is not None and found != shown:
                        if options.json:
                            emit(found)
                        else:
                            live.update(render(found), refresh=True)
                    shown = found
                    await asyncio.sleep(_LOOK_SECONDS if shown is None or shown["response"] is None else 0)
    except TimeoutError:
        if shown is None:
            raise _unknown(options.request_id) from None
        raise CommandError(exits.TIMED_OUT, f"still {shown['request']['status']}") from None
    if not options.json and not live.console.is_terminal:
        live.console.print()  # it leaves the last line open there
    return exits.OK if shown["request"]["status"] == "completed" else exits.FAILED


def _unknown(request_id: UUID) -> CommandError:
    return CommandError(
        exits.FAILED,
        f"no request {request_id} is on record: it has not been accepted yet, or was deleted as old",
    )


def _print(found: Found, *, as_json: bool) -> None:
    if as_json:
        emit(found)
    else:
        people().print(render(found))


def render(found: Found) -> RenderableType:
    """For people: the request, its history, its session and its response."""
    request, session, response = found["request"], found["session"], found["response"]
    parts: list[RenderableType] = [facts("request", _request_rows(request))]
    history = grid("history", "time", "status", "attempt", "worker")
    for step in found["history"]:
        history.add_row(
            _at(step["at"]), coloured(step["status"]), str(step["attempt"]), str(step["worker"] or "")
        )
    parts.append(history)
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


def _request_rows(request: Found) -> list[tuple[str, object]]:
    return [(name, coloured(value) if name == "status" else _plain(value)) for name, value in request.items()]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return _at(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 — any JSON
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return SEALED if isinstance(value, str) and value.startswith("sealed:") else value
