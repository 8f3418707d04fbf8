"""Options that several commands have, and what the value of an option may be."""

import argparse
from collections.abc import Callable
from datetime import datetime, timedelta

from worker.messages import moments
from worker.operations import steering

_LONGEST_WORDS = 500


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object a line on stdout")


def csv_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", action="store_true", help="for spreadsheets; no cell of it is a formula")


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


def positive_up_to(most: int) -> Callable[[str], int]:
    """Make what reads a number that is not larger than this."""

    def number(text: str) -> int:
        value = positive(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}")
        return value

    return number


def encodable(text: str) -> str:
    """Read a text that is looked for; it may be empty."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("is not in UTF-8") from None
    return text


def moment(text: str) -> datetime:
    """Read a time as the headers of a request have it."""
    try:
        return moments.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is {error}") from error


def moment_or_time_from_now(text: str) -> datetime | timedelta:
    """Read a time as `moment` does, or how far ahead it is, as +30m, +2h or +1d."""
    try:
        return steering.moment_or_time_from_now(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def words(text: str) -> str:
    """Read what one person tells others."""
    text = text.strip()
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    if len(text) > _LONGEST_WORDS:
        raise argparse.ArgumentTypeError(f"has more than {_LONGEST_WORDS} characters")
    return encodable(text)


def queue_name(text: str) -> str:
    if not 0 < len(encodable(text).encode()) <= 255:  # noqa: PLR2004 — the protocol's
        raise argparse.ArgumentTypeError("must be the name of a queue, of at most 255 bytes")
    return text
