"""`session-worker top`."""

import argparse
import asyncio
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.live import Live

from worker.cli import event_loop, exits
from worker.cli.commands import orgs, workers
from worker.cli.looking import looked_up
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.tables import people, plain
from worker.operations import load
from worker.operations.load import Load, Rates

EXAMPLES = """\
  session-worker top
  session-worker top --json      a line each two seconds

What came and went in a second, from the kept counts; the organisations and
the reasons of failures are those of the last ten minutes. Ctrl-C ends it.
Where the output is no terminal, and is not --json, it is shown once.
"""
_LOOK_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    event_loop.run(_top(options))
    return exits.OK


async def _top(options: argparse.Namespace) -> None:
    console = people()
    async with looked_up(options) as (database, settings):
        before: Load | None = None
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                now = await database.look(lambda: load.look(database, settings.lease_seconds), options.wait)
                rates = load.rates(before, now) if before else None
                if options.json:
                    emit(as_record(now, rates))
                else:
                    live.update(screen_of(now, rates), refresh=True)
                    if not console.is_terminal:
                        return
                before = now
                await asyncio.sleep(_LOOK_SECONDS)


def as_record(now: Load, rates: Rates | None) -> dict[str, object]:
    return {
        "at": now.at, "counts": now.counts._asdict(), "per_second": rates._asdict() if rates else None,
        "orgs": [each._asdict() for each in now.orgs], "reasons": dict(now.reasons),
        "workers": [{**each._asdict(), "state": each.state} for each in now.workers],
    }  # fmt: skip


def screen_of(now: Load, rates: Rates | None) -> RenderableType:
    """Lay out what is at work now."""
    counted = now.counts
    parts: list[RenderableType] = [
        plain(
            f"{now.at:%H:%M:%S}Z  unfinished {counted.unfinished:,}  completed {counted.completed:,}"
            f"  failed {counted.failed:,}"
        )
    ]
    if rates is not None:
        parts.append(
            plain(
                f"in {rates.received:,.1f}/s  completed {rates.completed:,.1f}/s"
                f"  failed {rates.failed:,.1f}/s"
            )
        )
    if now.orgs:
        parts.append(orgs.table_of(now.orgs))
    parts.append(workers.table_of(now.workers, datetime.now(UTC)))
    parts += [plain(f"{number:,} {reason}") for reason, number in now.reasons]
    return Group(*parts)
