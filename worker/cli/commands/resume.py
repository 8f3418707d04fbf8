"""`session-worker resume`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.options import json_option, wait_option, words
from worker.cli.output import emit
from worker.cli.steering import (
    Place,
    by_option,
    place_of,
    place_options,
    say_lines,
    steered,
    told,
    wait_now,
)
from worker.operations import steering
from worker.operations.steering import pause_as_record

EXAMPLES = """\
  session-worker resume                 ends the pause of all requests
  session-worker resume --org org-7
  session-worker resume --worker 10.0.0.7:1

Each pause is ended by itself: an organisation that is paused stays so when
all requests are resumed. What is not paused stays as it is: exit code 0.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    place_options(parser)
    parser.add_argument("--reason", type=words, help="why; the audit keeps it")
    by_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_resume(options))


async def _resume(options: argparse.Namespace) -> int:
    async with steered(options) as there:
        database = there.database
        place = place_of(options, there, may_be_gone=True)
        ended = await database.look(
            lambda: steering.resume(database, place.scope, place.name, by=options.by, reason=options.reason),
            options.wait,
        )
        left = await database.look(lambda: steering.pauses(database), options.wait)
        org = place.name if place.scope == "org" else None
        waiting = await database.look(lambda: steering.waiting(database, org), options.wait)
    if options.json:
        emit(
            {"scope": place.scope, "name": place.name, "resumed": ended is not None}
            | {"before": pause_as_record(ended, place.where) if ended else None}
            | {"waiting": None if place.scope == "worker" else waiting.waiting}
            | {"still_paused": [pause_as_record(one.pause, one.place) for one in left]}
            | {"workers": 1 if place.scope == "worker" else len(there.live)}
        )
        return exits.OK
    if ended is None:
        lines = [f"nothing to do: {place} {'is' if place.scope == 'worker' else 'are'} not paused"]
    elif place.scope == "worker":
        lines = [f"resumed: {place}, paused {told(ended)}", "in force within a second"]
    else:
        lines = [
            f"resumed: {place}, paused {told(ended)}",
            f"{there.in_force}; {wait_now(place, waiting.waiting)}",
        ]
    lines += [
        f"still paused: {Place(pause.scope, pause.name, where)}, {told(pause)}" for pause, where in left
    ]
    say_lines(*lines)
    return exits.OK
