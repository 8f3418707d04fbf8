"""docs/tables.md has each table and view with its columns, as Postgres has them, and its statements work."""

from collections import defaultdict

import asyncpg
from support.snippets import snippets_of
from support.tables_page import PAGE, described

_CATALOGUE = """
select
  c.relname, case c.relkind when 'v' then 'view' else 'table' end, obj_description(c.oid, 'pg_class'),
  a.attname, col_description(c.oid, a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and a.attnum > 0
  and not c.relispartition
  and not a.attisdropped
order by c.relname, a.attnum
"""


async def test_each_table_and_column_is_described_in_postgres_and_on_the_page(db: asyncpg.Connection) -> None:
    there: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for table, kind, holds, column, text in await db.fetch(_CATALOGUE):
        there[table, kind, holds].append((column, text))

    assert there == {
        (name, table.kind, table.holds): list(table.columns.items()) for name, table in described().items()
    }, "each column is described by `comment on` in the migration that adds it, in the order of the columns"
    page = PAGE.read_text("utf-8")
    assert [name for name in described() if f"\n### {name}\n" not in page] == []
    statements = [each.text for each in snippets_of("docs/tables.md") if each.language == "sql"]
    assert [await db.fetch(statement) for statement in statements] == [[], []]
