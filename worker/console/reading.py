"""Reads the fields of an address or a form; what is wrong is named, with the reason."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from worker.console.problems import bad
from worker.operations.filters import moment_or_time_ago
from worker.operations.steering import moment_or_time_from_now
from worker.rules import check_org

T = TypeVar("T", bound=str)
R = TypeVar("R")
_LONGEST = 2_000
_LONGEST_QUEUE = 255  # bytes: the protocol's
LEAST_RATE, MOST_RATE = 0.1, 10_000.0


def read(fields: Mapping[str, str], name: str, how: Callable[[str], R]) -> R | None:
    """Read a field, without spaces around it; None: it is empty or not there. Raises a 400 that names it."""
    return read_text(name, fields.get(name, "").strip(), how)


def read_text(name: str, text: str, how: Callable[[str], R]) -> R | None:
    """Read what a field holds; None: nothing. Raises a 400 that names the field."""
    if not text:
        return None
    if len(text) > _LONGEST:
        raise bad(f"{name}: is longer than {_LONGEST:,} characters")
    try:
        return how(text)
    except ValueError as error:
        raise bad(f"{name}: {text[:200]!r} {error}") from None


def plain(text: str) -> str:
    """Read a text that Postgres can look for."""
    if "\0" in text:
        raise ValueError("holds a character that no id has")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not in UTF-8") from None
    return text


def one_of(choices: tuple[T, ...]) -> Callable[[str], T]:
    """Make what reads one of these."""

    def how(text: str) -> T:
        for choice in choices:
            if text == choice:
                return choice
        raise ValueError(f"is none of {', '.join(choices)}")

    return how


def whole(most: int) -> Callable[[str], int]:
    """Make what reads a whole number from 1."""

    def how(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
            raise ValueError(f"is not a whole number from 1 to {most:,}")
        return int(text)

    return how


def uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("is no id, which has 32 hexadecimal digits") from None


def org_of(fields: Mapping[str, str], name: str) -> str:
    """Read an organisation, which has to be given."""
    try:
        org = plain(fields.get(name, ""))
        check_org(org)
    except ValueError as error:
        raise bad(f"{name}: {error}") from None
    return org


def queue_name(text: str) -> str:
    if len(plain(text).encode()) > _LONGEST_QUEUE:
        raise ValueError(f"is longer than {_LONGEST_QUEUE} bytes, as no queue's name is")
    return text


def ago(now: datetime) -> Callable[[str], datetime]:
    """Make what reads a time, or how long before `now` it is."""
    return partial(moment_or_time_ago, now=now)


def ahead(text: str) -> datetime | timedelta:
    """Read a time, or how far ahead it is."""
    return moment_or_time_from_now(text)


def rate_of(fields: Mapping[str, str], usual: float) -> float:
    """Read how many in a second; what is not given is as usual."""

    def how(text: str) -> float:
        try:
            number = float(text.removesuffix("/s"))
        except ValueError:
            number = 0
        if not LEAST_RATE <= number <= MOST_RATE:
            raise ValueError(f"is not a number from {LEAST_RATE:g} to {MOST_RATE:,.0f}, such as 50")
        return number

    return read(fields, "rate", how) or usual
