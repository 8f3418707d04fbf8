"""`session-worker dead show`."""

import argparse
import sys

from worker.cli import event_loop, exits
from worker.cli.dead_letters import the_one
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.options import encodable, json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at
from worker.cli.tables import facts, people
from worker.messages.masking import masked_text, shown
from worker.messages.sealing import parse_seal_keys
from worker.operations import dead_letters
from worker.operations.dead_letters import Whole

EXAMPLES = """\
  session-worker dead show 6fa860ba
  session-worker dead show 6fa860ba --raw > message.json
      the body byte by byte, with the credentials that it has

What looks like a credential is masked, by its name.
"""
_LONGEST = 20_000  # characters of a body


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", type=encodable, metavar="ID", help="its id, its request's, or the message id that a log names"
    )
    parser.add_argument("--raw", action="store_true", help="the body alone, as it is, to a file or a pipe")
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if options.raw and sys.stdout.isatty():
        raise CommandError(exits.USAGE, "--raw is not for a terminal, which may obey it: send it to a file")
    return event_loop.run(_show(options))


async def _show(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        letter_id = await the_one(database, options.id, options.wait)
        keys = parse_seal_keys(settings.seal_keys.get_secret_value())
        (letter,) = await database.look(lambda: dead_letters.read(database, [letter_id], keys), options.wait)
    if options.raw:
        sys.stdout.buffer.write(letter.body)
        sys.stdout.buffer.flush()
    elif options.json:
        emit(
            {**letter.about._asdict(), "properties": letter.properties, "headers": _masked(letter)}
            | {"body": shown(letter.body)}
        )
    else:
        _print(letter)
    return exits.OK


def _print(letter: Whole) -> None:
    one = letter.about
    moments = ("died_at", "kept_at", "ended_at")
    told = {name: at(value) if name in moments and value else value for name, value in one._asdict().items()}
    console = people()
    console.print(facts("message", told.items()))
    console.print(facts("properties", letter.properties.items()))
    console.print(facts("headers", _masked(letter).items()))
    text = shown(letter.body)
    more = f"\n… {len(text) - _LONGEST:,} characters more: --raw writes all" if len(text) > _LONGEST else ""
    console.print(facts("body", [("", (text[:_LONGEST] or "(empty)") + more)]))


def _masked(letter: Whole) -> dict[str, object]:
    """Mask what headers say in passing, too; those with the name of a credential were never kept."""
    return {
        name: masked_text(value) if isinstance(value, str) else value
        for name, value in letter.headers.items()
    }
