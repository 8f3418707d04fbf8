"""Reads the named statements of the .sql files beside it, and the migrations."""

import re
from functools import cache
from importlib import resources
from typing import NamedTuple

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_(\w+)\.sql")
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)  # it may end like a statement
_TRANSACTION = "-- migrate: one transaction\n"


class Migration(NamedTuple):
    """A numbered file. Statements that must run outside a transaction stand first, and may be repeated."""

    number: int
    name: str
    sql: str

    @property
    def written(self) -> str:
        """Its name for people, as that of its file."""
        return f"{self.number:04d}_{self.name}"

    @property
    def beforehand(self) -> list[str]:
        before, marked, _ = self.sql.partition(_TRANSACTION)
        statements = _COMMENT.sub("", before).split(";\n")
        return [statement.strip() for statement in statements if statement.strip()] if marked else []

    @property
    def in_transaction(self) -> str:
        """The part that is done in a transaction, after that."""
        before, marked, rest = self.sql.partition(_TRANSACTION)
        return rest if marked else before

    @property
    def on_new_tables(self) -> str:
        """All of it in one transaction: where nobody uses the tables yet, nobody is kept waiting."""
        return self.sql.replace(" concurrently ", " ")


def load_queries(file: str = "queries.sql") -> dict[str, str]:
    text = (resources.files(__name__) / file).read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def setup_query(name: str) -> str:
    return _setup()[name]


@cache
def _setup() -> dict[str, str]:
    return load_queries("setup.sql")


def load_migrations() -> list[Migration]:
    """Return the migrations in the order of their numbers, which run from 1 without a gap."""
    return sorted(
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in (resources.files(__name__) / "migrations").iterdir()
        if (match := _MIGRATION.fullmatch(file.name))
    )
