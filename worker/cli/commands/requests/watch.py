"""`session-worker requests watch`."""

import argparse
import asyncio
from datetime import UTC, datetime

from worker.cli import event_loop, exits
from worker.cli.filter_options import filter_of, filter_options
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit, say
from worker.cli.record_tables import at
from worker.cli.tables import people, plain
from worker.operations.watching import NEWEST, Change, Watch

EXAMPLES = f"""\
  session-worker requests watch --org org-7
  session-worker requests watch --status failed --json

A line each time that one of the newest {NEWEST:,} which match is new or has
changed, looked at twice a second, until Ctrl-C. What begins and ends between
two looks is one line.
"""
_LOOK_SECONDS = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    filter_options(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    event_loop.run(_watch(options))
    return exits.OK


async def _watch(options: argparse.Namespace) -> None:
    console = people()
    async with looked_up(options) as (database, _):
        watch = Watch(database, filter_of(options))
        await database.look(watch.look, options.wait)
        say("watching")
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for change in await database.look(watch.look, options.wait):
                if options.json:
                    now = datetime.now(UTC)
                    emit({"at": now, "before": change.before, **change.request._asdict()})
                else:
                    console.print(plain(_line(change, datetime.now(UTC))), soft_wrap=True)


def _line(change: Change, now: datetime) -> str:
    one = change.request
    status = one.status if change.before in (None, one.status) else f"{change.before} → {one.status}"
    known = (
        one.org_id, one.code, one.reason, f"attempt {one.attempt}",
        f"{one.took_seconds * 1000:,.0f} ms" if one.took_seconds is not None else None,
        f"answer {one.response}" if one.finished_at else None,
    )  # fmt: skip
    return f"{at(now)[11:-1]}  {one.request_id}  {status}  {', '.join(each for each in known if each)}"
