"""Drains a worker: it is paused, and waited for until it has nothing in hand."""

import argparse
import asyncio

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.output import emit, say
from worker.cli.steering import Place, Steered, counted, place_of, say_lines, steered
from worker.operations import overview, steering
from worker.operations.overview import LiveWorker

_IN_FORCE_SECONDS = 1.0  # a worker that has not seen the pause yet may still begin something
_LOOK_SECONDS = 0.5


async def drain(options: argparse.Namespace) -> int:
    """Pause the worker that the options name, and wait until what it has begun has ended."""
    async with steered(options) as there:
        place = place_of(options, there)
        await there.database.look(
            lambda: steering.pause(
                there.database, place.scope, place.name, reason=options.reason or "drained", by=options.by
            ),
            options.wait,
        )
        if not options.json:
            say(f"paused: {place}, which begins nothing more")
        left = await _emptied(there, place, options)
    in_hand = left.in_hand if left else 0
    if options.json:
        emit({"worker": place.name, "place": place.where, "in_hand": in_hand, "gone": left is None})
    elif left is None:
        say_lines(f"{place} has ended")
    elif not in_hand:
        say_lines(
            f"drained: {place} has nothing in hand, and stays paused",
            f"end it on {left.host} with: kill -TERM {left.pid}",
            "what is started in its place is another worker, and not paused",
        )
    else:
        say_lines(
            f"{place} has {counted(in_hand, 'request')} in hand after {options.timeout:g} s; it stays paused"
        )
    return exits.TIMED_OUT if in_hand else exits.OK


async def _emptied(there: Steered, place: Place, options: argparse.Namespace) -> LiveWorker | None:
    """Wait until the worker has nothing in hand, or the time is over, and return it; None: it has ended."""
    clock = asyncio.get_running_loop().time
    until = clock() + options.timeout
    await asyncio.sleep(_IN_FORCE_SECONDS)
    while True:
        found = await there.database.look(
            lambda: overview.workers(there.database, there.lease_seconds), options.wait
        )
        its = next((each for each in found if str(each.id) == place.name), None)
        if its is not None and not its.lives:
            raise CommandError(
                exits.FAILED, f"{place} has gone silent: others take over what it has in hand, in a lease"
            )
        if its is None or not its.in_hand or clock() >= until:
            return its
        await asyncio.sleep(_LOOK_SECONDS)
