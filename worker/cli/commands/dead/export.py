"""`session-worker dead export`."""

import argparse
import base64
import os
from pathlib import Path

from worker.cli import event_loop, exits
from worker.cli.dead_letters import filter_of, filter_options
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.options import wait_option
from worker.cli.output import say
from worker.messages.sealing import parse_seal_keys
from worker.operations import dead_letters
from worker.operations.json_text import as_json

EXAMPLES = """\
  session-worker dead export messages.jsonl
  session-worker dead export --app billing-exporter --since 1d for-billing.jsonl

The file has the bodies in clear (base64), with the credentials in them: only
you can read it. One that is there already is not written over.
"""
_AT_ONCE = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file")
    parser.add_argument(
        "--state", choices=("kept", "replayed", "dropped"), default="kept", help="default kept"
    )
    filter_options(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_export(options))


async def _export(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        keys = parse_seal_keys(settings.seal_keys.get_secret_value())
        which = await filter_of(database, options, options.state)
        ids = await database.look(lambda: dead_letters.select(database, which), options.wait)
        try:
            file = os.fdopen(os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
        except OSError as error:
            raise CommandError(exits.USAGE, f"{options.file}: {error.strerror}") from None
        with file:
            for start in range(0, len(ids), _AT_ONCE):
                part = ids[start : start + _AT_ONCE]
                for letter in await dead_letters.read(database, part, keys):
                    record = {
                        **letter.about._asdict(), "properties": letter.properties, "headers": letter.headers,
                        "body": base64.b64encode(letter.body).decode(),
                    }  # fmt: skip
                    file.write(as_json(record) + "\n")
    say(f"{len(ids):,} message{'s' * (len(ids) != 1)} in {options.file}")
    return exits.OK
