"""`session-worker keys check`."""

import argparse
from collections.abc import Sequence

from worker.cli import event_loop, exits
from worker.cli.output import emit
from worker.cli.sealed_rows import NAMES, READS_ALL, count_options, counted
from worker.cli.steering import say_lines
from worker.operations.keys import Lacking, lacking

EXAMPLES = f"""\
  session-worker keys check
  session-worker keys check --quick
  WORKER_SEAL_KEYS="k2:…" session-worker keys check
      before k1 is taken from the workers: does anything need it?

A key is missing if rows are sealed with it and a live worker has it not, or
the WORKER_SEAL_KEYS of this shell, if that is set or no worker lives. Exit
code 1 if one is missing.

{READS_ALL}"""
_SHOWN = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    count_options(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_check(options))


async def _check(options: argparse.Namespace) -> int:
    found = await counted(options)
    missing = lacking(found.rows, found.here, found.workers)
    sealed = [each for each in missing if each.place != "repeats"]
    if options.json:
        for each in missing:
            emit({**each._asdict(), "missing": each in sealed})
    else:
        say_lines(*map(in_words, missing))
        if not sealed:
            needed = {each.key for each in found.rows if each.place != "repeats"}
            print(f"each key that rows are sealed with is there: {', '.join(sorted(needed)) or 'none'}")
    return exits.FAILED if sealed else exits.OK


def in_words(one: Lacking) -> str:
    """Say who lacks a key, and for what it is needed."""
    who = [*(["this shell"] if one.here else []), *_some(one.workers)]
    if one.place == "repeats":
        return (
            f"note: without {one.key} repeats of {one.rows:,} requests are answered with request_id_conflict "
            f"by {', '.join(who)}"
        )
    return f"{one.key} is missing: {one.rows:,} {NAMES[one.place]} need it; not set in {', '.join(who)}"


def _some(workers: Sequence[str]) -> list[str]:
    more = [f"{len(workers) - _SHOWN} more"] if len(workers) > _SHOWN else []
    return [*workers[:_SHOWN], *more]
