"""Options that several commands have, and what the value of an option may be."""

import argparse
from datetime import datetime

from worker.messages import moments


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object a line on stdout")


def wait_option(parser: argparse.ArgumentParser, seconds: float = 30) -> None:
    parser.add_argument(
        "--wait", type=float, default=seconds, metavar="SECONDS",
        help=f"how long to wait for a server that does not answer (default {seconds:g})",
    )  # fmt: skip


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def moment(text: str) -> datetime:
    """Read a time as the headers of a request have it."""
    try:
        return moments.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is {error}") from error
