"""`session-worker request`."""

import argparse
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from worker.cli import event_loop, exits
from worker.cli.bulk.checkpoint import Checkpoint
from worker.cli.bulk.input_lines import InputLine, from_options, request_options
from worker.cli.bulk.progress import send_many
from worker.cli.bulk.sending import Result, send_one
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, moment, positive, wait_option
from worker.cli.output import emit, show_client_log
from worker.cli.servers import client_for
from worker.cli.tables import coloured, facts, people
from worker.client import Client
from worker.settings import Settings

EXAMPLES = """\
  session-worker request
      the smallest request there is
  session-worker request --name "Support chat" --expiration-seconds 3600
  session-worker request --key order-17
      again with the same key: the same session, not a second one
  session-worker request --file request.json
      a payload, or a whole request with its ids
  session-worker request --file requests.jsonl --json
      one request a line; one response a line comes out
  generate | session-worker request --no-wait
      from a pipe; waits for the broker's confirm only
  session-worker request --file requests.jsonl --checkpoint requests.done \\
      --results responses.jsonl
      killed or cut off: again with the same words, and it goes on
  session-worker request --no-wait --not-before "$(date -Is -d 'tomorrow 8:00')"
      begun then; the response comes to the response queue
  session-worker request --count 1000
      a progress bar, then how long they took

A pipe on standard input is read unless flags say what to ask for
(</dev/null where it stays open and silent).
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("the request")
    what.add_argument("--org-id", help="the organisation it is for (default: the file's, or demo)")
    what.add_argument("--user-id", help="the user it is for")
    what.add_argument("--name", help="the session's name")
    what.add_argument(
        "--status", choices=("active", "completed"), help="the status that the session begins with"
    )
    what.add_argument("--expiration-seconds", type=float, metavar="N", help="how long the session lives")
    what.add_argument("--assistant-id", help="the assistant that takes part in it")
    what.add_argument("--phone-number-id", help="the number that it is called from")
    what.add_argument("--casefile-id", help="cf_YYMMDD_code")
    what.add_argument(
        "--metadata", type=_object, metavar="JSON", help="an object with anything of yours, which is stored"
    )
    what.add_argument("--file", metavar="PATH", help="a JSON document, or JSON Lines; - is standard input")
    identity = what.add_mutually_exclusive_group()
    identity.add_argument("--request-id", type=UUID, metavar="UUID", help="ask again for this request")
    identity.add_argument("--key", help="a name of yours that the request id is derived from")
    how = parser.add_argument_group("how")
    how.add_argument("--count", type=positive, metavar="N", help="send N requests")
    how.add_argument(
        "--at-once",
        type=positive,
        default=200,
        metavar="N",
        help="of many requests, N are in flight at a time (default 200)",
    )
    how.add_argument(
        "--not-before", type=moment, metavar="TIME",
        help="no worker begins them before this, at most 366 days ahead: ISO 8601, in UTC unless it has an "
        "offset, or milliseconds since 1970",
    )  # fmt: skip
    how.add_argument("--no-wait", action="store_true", help="end when the broker has confirmed them")
    how.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help="keep what became of each line there; another run with the same FILE passes over the lines that "
        "are done, and sends the others with the request ids that they had",
    )  # fmt: skip
    how.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="write the result of each request there, one JSON object a line",
    )
    how.add_argument(
        "--timeout",
        type=float,
        default=30,
        metavar="SECONDS",
        help="how long to wait for each response (default 30)",
    )
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if (
        options.count is not None
        and options.count > 1
        and (options.file or options.key or options.request_id)
    ):
        raise CommandError(exits.USAGE, "--count does not go with --file, --key or --request-id")
    if options.not_before is not None and not options.no_wait:
        _refuse_to_end_before(options.not_before, options.timeout)
    show_client_log()
    return event_loop.run(_request(options))


def _refuse_to_end_before(begins_at: datetime, seconds: float) -> None:
    """Refuse to wait for responses that cannot be there in time, before anything is sent."""
    wait = (begins_at - datetime.now(UTC)).total_seconds()
    if wait >= max(seconds, 0):
        raise CommandError(
            exits.USAGE,
            f"--not-before is {wait:.0f} s ahead and --timeout only {seconds:g} s: add --no-wait, "
            "or give a longer --timeout",
        )


async def _request(options: argparse.Namespace) -> int:
    settings = settings_for(broker=True)
    if options.checkpoint is not None:
        return await _resumable(settings, options)
    lines = from_options(options)
    async with client_for(settings, options.wait) as client:
        first = await anext(lines, None)
        second = await anext(lines, None)
        if (first is None or second is None) and options.results is None:
            return await _one(client, first or InputLine(1, None, "is missing"), options)
        if options.key or options.request_id:
            raise CommandError(exits.USAGE, "--key and --request-id are for one request")
        return await send_many(client, _chained([each for each in (first, second) if each], lines), options)


async def _resumable(settings: Settings, options: argparse.Namespace) -> int:
    if options.key or options.request_id:
        raise CommandError(exits.USAGE, "--checkpoint does not go with --key or --request-id")
    with Checkpoint(
        options.checkpoint,
        results=options.results.absolute() if options.results else None,
        options={**request_options(options), "prefix": settings.prefix},
        wait=not options.no_wait,
    ) as checkpoint:
        lines = from_options(options, checkpoint)
        async with client_for(settings, options.wait) as client:
            return await send_many(client, lines, options, checkpoint)


async def _one(client: Client, line: InputLine, options: argparse.Namespace) -> int:
    result = await send_one(client, line, timeout=options.timeout, wait=not options.no_wait)
    if result.status == "not_sent":
        raise CommandError(exits.USAGE, f"not sent: the request {result.error}")
    if result.status == "timed_out":
        if options.json:
            emit(result.record())
        raise CommandError(exits.TIMED_OUT, result.error)
    if options.json:
        emit(result.record())
    else:
        people().print(facts("", _facts_of(result)))
    return exits.FAILED if result.status == "failed" else exits.OK


def _facts_of(result: Result) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("status", coloured(result.status)), ("request", result.request_id)]
    if (response := result.response) is None:
        return rows
    failed = result.status == "failed"
    rows += [
        ("session", None if failed else response.payload.session_id),
        ("casefile", response.payload.casefile_id),
        ("created", None if failed else response.payload.created_at),
        ("code", result.code),
        ("error", response.error),
        *((error["field"], error["reason"]) for error in response.metadata.get("errors", ())),
    ]
    rest = {name: value for name, value in response.metadata.items() if name not in ("code", "errors")}
    return [
        *rows,
        ("metadata", json.dumps(rest) if rest else None),
        ("took", f"{result.seconds * 1000:.0f} ms"),
    ]


async def _chained(
    first: list[InputLine], rest: AsyncGenerator[InputLine, None]
) -> AsyncGenerator[InputLine, None]:
    for line in first:
        yield line
    async for line in rest:
        yield line


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("is not a JSON object")
    return value
