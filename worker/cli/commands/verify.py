"""`session-worker verify`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit, say
from worker.cli.reaching import reach
from worker.cli.tables import grid, people, plain
from worker.operations.promises import Received, Violation, verify
from worker.postgres.migrate import require_current
from worker.tls import context_from

EXAMPLES = """\
  session-worker request --count 1000 --no-wait --json > confirmed.jsonl
  session-worker responses --raw > responses.jsonl
      once they are all there; --follow waits for them
  session-worker verify --confirmed confirmed.jsonl --responses responses.jsonl

For each request that the broker confirmed: one record, finished, with a legal
history; at most one session, and none of a failed request; a response, the
one on record, in copies that are alike to the byte. What else is in the queue
of the responses has to be right as well. Each violation is a line; exit code
1 if there is any. `responses --json` will do in place of --raw, but tells
neither repeats nor message ids.
"""
_UNCONFIRMED = ("not_sent", "timed_out")
_SHOWN = 100
T = TypeVar("T")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--confirmed", required=True, metavar="FILE",
        help="one request id a line, or what `request --json` prints; - for standard input",
    )  # fmt: skip
    parser.add_argument(
        "--responses", required=True, metavar="FILE",
        help="what `responses --raw` prints; - for standard input",
    )  # fmt: skip
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.confirmed == options.responses == "-":
        raise CommandError(exits.USAGE, "--confirmed and --responses cannot both be standard input")
    confirmed = [each for each in _read(options.confirmed, _request_id) if each is not None]
    received = list(_read(options.responses, _copy))
    violations = event_loop.run(_verify(confirmed, received, options.wait))
    if options.json:
        for violation in violations:
            emit(violation._asdict())
    elif violations:
        _show(violations)
    count = f"{len(violations)} violations" if violations else "no violation"
    say(f"{count}: {len(set(confirmed))} requests confirmed, {len(received)} responses received")
    return exits.FAILED if violations else exits.OK


async def _verify(confirmed: list[UUID], received: list[Received], wait_seconds: float) -> list[Violation]:
    settings = settings_for(database=True)
    url, tls = settings.database_url.get_secret_value(), context_from(settings)
    schema = await reach("Postgres", lambda: require_current(url, tls, settings.prefix), wait_seconds)
    return await reach("Postgres", lambda: verify(url, confirmed, received, tls, schema), wait_seconds)


def table_of(violations: list[Violation]) -> Table:
    table = grid("", "promise", "request", "found", wrap=["promise", "found"])
    table.columns[0].max_width = 12  # leaves room for a session's id in what was found
    for violation in violations:
        table.add_row(*map(plain, violation))
    return table


def _show(violations: list[Violation]) -> None:
    people().print(table_of(violations[:_SHOWN]))
    if len(violations) > _SHOWN:
        say(f"the first {_SHOWN} are shown; --json prints all")


def _read(name: str, parse: Callable[[str], T]) -> Iterator[T]:
    """Parse each line of a file; empty lines are passed over."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(exits.USAGE, f"{name} cannot be read: {error}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield parse(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise CommandError(exits.USAGE, f"{name}, line {number}: {_EXPECTED[parse]}") from None


def _request_id(line: str) -> UUID | None:
    """Read the id of a confirmed request; None if the line says that the broker did not confirm it."""
    if not line.lstrip().startswith("{"):
        return UUID(line.strip())
    record = json.loads(line)
    return None if record["status"] in _UNCONFIRMED else UUID(record["request_id"])


def _copy(line: str) -> Received:
    record = json.loads(line)
    if "body" in record:
        return Received(str(record["message_id"]), record["body"].encode())
    # A response on its own. Its message id is the request's, unless the response is off the record.
    request_id = str(UUID(record["request_id"]))
    metadata = record.get("metadata") or {}
    beside = metadata.get("code") == "request_id_conflict" or metadata.get("recorded") is False
    return Received(
        f"{request_id}.{record['payload']['session_id']}" if beside else request_id, line.encode()
    )


_EXPECTED: dict[object, str] = {
    _request_id: "is neither a request id nor a line of `request --json`",
    _copy: "is no line of `responses --raw` or `responses --json`",
}
