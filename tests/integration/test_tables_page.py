"""docs/tables.md has each table and view with its columns, and its statements work."""

import re

import asyncpg
from support.snippets import ROOT, snippets_of

_ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", re.MULTILINE)
_COLUMNS = """
select table_name::text, array_agg(column_name::text order by ordinal_position)
from information_schema.columns where table_schema = 'public' group by table_name
"""


async def test_each_table_has_its_columns_on_the_page(db: asyncpg.Connection) -> None:
    page = (ROOT / "docs" / "tables.md").read_text("utf-8")
    said = {name: re.findall(r"`(\w+)`", columns) for name, columns in _ROW.findall(page)}

    assert said == dict(await db.fetch(_COLUMNS))
    statements = [each.text for each in snippets_of("docs/tables.md") if each.language == "sql"]
    assert [await db.fetch(statement) for statement in statements] == [[], []]
