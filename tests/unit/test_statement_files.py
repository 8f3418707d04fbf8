"""Each file of statements beside `queries.sql` has those that its one user asks for, and no other."""

import re
from pathlib import Path

import pytest

from worker.postgres.sql import load_queries

WORKER = Path(__file__).parents[2] / "worker"


@pytest.mark.parametrize(
    ("file", "users", "asks"),
    [
        ("setup.sql", "postgres/*.py", r"setup_query\(['\"](\w+)['\"]\)"),
        ("script.sql", "postgres/migrate.py", r"texts\[\"(\w+)\"\]"),
        ("election.sql", "postgres/election.py", r"_queries\(\)\[\"(\w+)\"\]"),
        ("events.sql", "postgres/unsent_events.py", r"_queries\(\)\[\"(\w+)\"\]"),
        ("promises.sql", "operations/promises.py", r"_queries\(\)\[\"(\w+)\"\]"),
    ],
)
def test_every_statement_is_used_and_every_one_that_is_used_is_there(
    file: str, users: str, asks: str
) -> None:
    statements = load_queries(file)
    source = "".join(each.read_text("utf-8") for each in sorted(WORKER.glob(users)))

    assert set(re.findall(asks, source)) == set(statements)
    assert all(statements.values())


def test_the_files_in_which_statements_take_arguments_hold_no_place_for_a_name() -> None:
    for file in ("setup.sql", "promises.sql", "operations.sql", "owner.sql", "election.sql", "events.sql"):
        for name, sql in load_queries(file).items():
            assert not re.search(r"\{\w+\}|%[sdr(]", sql), name
            assert not sql.endswith(";"), name
