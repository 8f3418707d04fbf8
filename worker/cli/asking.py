"""Asks a person whether to go on."""

import argparse
import asyncio
import sys

from worker.cli import exits
from worker.cli.exits import CommandError


async def may_go_on(options: argparse.Namespace, question: str = "Go on?") -> bool:
    """Ask, unless --yes says so. Without a terminal only --yes does."""
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise CommandError(exits.USAGE, "nobody is there to be asked: --yes goes on, --dry-run only looks")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, answered.set)  # to read without looking first would be deaf to Ctrl-C
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
