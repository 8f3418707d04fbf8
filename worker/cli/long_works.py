"""What the commands have in common that work through many rows: their rate, and how far they are."""

import argparse
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from worker.cli.options import words
from worker.cli.output import say
from worker.cli.steering import by_option
from worker.cli.tables import bystanders, plain

_EVERY_SECONDS = 5.0
_MOST_A_SECOND = 100_000


def rate_option(parser: argparse.ArgumentParser, usual: float) -> None:
    parser.add_argument(
        "--rate", type=_rate, default=usual, metavar="N/s",
        help=f"at most so many rows in a second (default {usual:g}/s)",
    )  # fmt: skip


def audit_options(parser: argparse.ArgumentParser, *, reason_required: bool) -> None:
    parser.add_argument(
        "--reason", type=words, required=reason_required, metavar="TEXT", help="why; the audit keeps it"
    )
    by_option(parser)


@contextmanager
def progress() -> Generator[Callable[[str], None], None, None]:
    """Yield what shows how far it is: in one line on a terminal, else as a line every few seconds."""
    console = bystanders()
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(plain(text))
        return
    told = time.monotonic()

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY_SECONDS:
            told = time.monotonic()
            say(text)

    yield tell


def _rate(text: str) -> float:
    try:
        number = float(text.removesuffix("/s"))
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST_A_SECOND:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {_MOST_A_SECOND}, as 500/s")
    return number
