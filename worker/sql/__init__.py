"""The named queries of `queries.sql`, and the migrations."""

import re
from importlib import resources
from typing import NamedTuple

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    number: int
    name: str
    sql: str


def load_queries() -> dict[str, str]:
    text = (resources.files(__name__) / "queries.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def load_migrations() -> list[Migration]:
    """The migrations in the order of their numbers, which run from 1 without a gap."""
    return sorted(
        Migration(int(match[1]), match[2], file.read_text("utf-8"))
        for file in (resources.files(__name__) / "migrations").iterdir()
        if (match := _MIGRATION.fullmatch(file.name))
    )
