"""Reads out of the migrations and the grants what a database should have."""

import re
from typing import NamedTuple

from worker.postgres.grants import Kind
from worker.postgres.sql import load_migrations, load_queries

_MADE = re.compile(
    r"^(create|drop)(?: or replace)?(?: unique)? (index|trigger) "
    r"(?:concurrently )?(?:if (?:not )?exists )?(\w+)",
    re.MULTILINE,
)
_GRANTED = re.compile(r"^grant ([^;]+?)\s+on (?!schema)(?:function\s+)?([^;]+?)\s+to \{role\};", re.MULTILINE)
_PRIVILEGE = re.compile(r"(\w+)(?:\s*\(([^)]*)\))?(?:,\s*|$)")
_THING = re.compile(r"\w+(?:\([^)]*\))?")


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


def rights(kind: Kind) -> list[Right]:
    """Return what a role of this kind has to be allowed, as `migrate --grant` gives it."""
    sections = load_queries("grants.sql")
    text = sections[kind].replace("{all}", sections["all"])
    return [
        Right(thing, privilege, column)
        for privileges, things in _GRANTED.findall(text)
        for thing in _THING.findall(things)
        for privilege, columns in _PRIVILEGE.findall(privileges)
        for column in re.findall(r"\w+", columns) or [None]
    ]
