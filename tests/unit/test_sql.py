"""The named queries and the migrations are found as they stand in their files."""

import re
from importlib import resources
from pathlib import Path

from worker.postgres.sql import load_migrations, load_queries

ROOT = Path(__file__).parents[2]


def test_every_query_has_a_name_of_its_own_and_a_line_that_says_what_for() -> None:
    text = (resources.files("worker.postgres.sql") / "queries.sql").read_text("utf-8")
    names = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)

    queries = load_queries()

    assert list(queries) == names
    assert len(set(names)) == len(names)
    assert all(len(sql.strip()) > 0 for sql in queries.values())


def test_every_query_that_is_called_exists_and_every_one_is_called() -> None:
    source = "".join(file.read_text("utf-8") for file in (ROOT / "worker").rglob("*.py"))
    called = set(re.findall(r"(?:\.call\(|\.once\(|_rows\(database,)\s*\"(\w+)\"", source))

    files = "queries.sql", "operations.sql", "owner.sql", "doctor.sql", "shards.sql"
    assert called == {name for file in files for name in load_queries(file)}


def test_no_query_ends_in_a_semicolon_or_holds_a_place_for_a_name() -> None:
    for name, sql in load_queries().items():
        assert not sql.endswith(";"), name
        assert not re.search(r"\{\w+\}|%[sdr(]", sql), name


def test_the_migrations_run_from_one_without_a_gap() -> None:
    migrations = load_migrations()

    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    assert migrations[0].name == "foundation"
    assert "create table requests" in migrations[0].sql
