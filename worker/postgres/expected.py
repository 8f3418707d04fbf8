"""Reads out of the migrations and the grants what a database should have."""

import re
from typing import NamedTuple

from worker.postgres.sql import load_grants, load_migrations

_MADE = re.compile(
    r"^(create|drop)(?: or replace)?(?: unique)? (index|trigger) "
    r"(?:concurrently )?(?:if (?:not )?exists )?(\w+)",
    re.MULTILINE,
)
_BROKEN_LITERAL = re.compile(r"'\s*\n\s*'")
_READABLE = re.compile(r"foreach existing in array array\[(.*?)\]", re.DOTALL)
_GRANTED = re.compile(r"'grant ([^'%]+) on (function )?(%I\.[^']+?) to %I'")
_PRIVILEGE = re.compile(r"(\w+)(?: \(([^)]*)\))?(?:, |$)")
_THING = re.compile(r"%I\.(\w+(?:\([^)]*\))?)")


class Right(NamedTuple):
    """A right on a table, on a column of it, or on a function (then there is neither)."""

    thing: str
    privilege: str
    column: str | None = None

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        return f"{self.privilege}{column} on {self.thing}"


class Things(NamedTuple):
    """What the migrations have made, beside tables."""

    indexes: frozenset[str]
    triggers: frozenset[str]


def things() -> Things:
    """Return the indexes and triggers that are there after the last migration."""
    there: dict[str, set[str]] = {"index": set(), "trigger": set()}
    for migration in load_migrations():
        for verb, kind, name in _MADE.findall(migration.sql):
            if verb == "create":
                there[kind].add(name)
            else:
                there[kind].discard(name)
    return Things(frozenset(there["index"]), frozenset(there["trigger"]))


def rights() -> list[Right]:
    """Return what a worker's role has to be allowed, as `migrate --grant` gives it."""
    text = _BROKEN_LITERAL.sub("", load_grants())
    readable = _READABLE.search(text)
    assert readable is not None  # noqa: S101 — it is our own file
    found = [Right(table, "select") for table in re.findall(r"'(\w+)'", readable[1])]
    for privileges, _, names in _GRANTED.findall(text):
        for thing in _THING.findall(names):
            for privilege, columns in _PRIVILEGE.findall(privileges):
                found += [
                    Right(thing, privilege, column or None) for column in columns.replace(" ", "").split(",")
                ]
    return found
