"""Each role of the database may do what docs/access.md says, and nothing else: all of it is tried, on all
that the database lists of two installations and another program.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from support.access import PASSWORD, Said, as_user, forget_roles, roles, said_of
from support.sealed import put_request

from worker.errors import MigrationError
from worker.postgres import migrate
from worker.postgres.grants import Kind, owner_script, script
from worker.postgres.installation import own_schema

OURS = "n.nspname <> 'information_schema' and n.nspname !~ '^pg_'"
TABLES = f"""
select
  c.oid::regclass::text as name, c.relname as said, n.nspname = 'public' as here, c.relkind = 'v' as is_view,
  c.relispartition as is_part,
  (
    select jsonb_agg(jsonb_build_array(
      quote_ident(attname), format_type(atttypid, atttypmod), attidentity = '' and attgenerated = '',
      case when n.nspname = 'public' then array(
        select verb from unnest(array['select', 'insert', 'update', 'references']) as verb
        where has_column_privilege($1, c.oid, attname, verb)
      ) end
    ))
    from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped
  ) as columns,
  array(
    select verb from unnest(array['delete', 'truncate', 'trigger', 'maintain']) as verb
    where has_table_privilege($1, c.oid, verb)
  ) as granted
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v') and {OURS} order by 1
"""  # noqa: S608 — our own
OF_THE_OWNER = """
select p.oid::regprocedure::text as name, has_function_privilege($1, p.oid, 'execute') as granted
from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.prosecdef and n.nspname = 'public'
"""
Columns = Sequence[tuple[str, str]]
OF_A_COLUMN: dict[str, Callable[[str, Columns], str]] = {
    "select": lambda table, columns: f"select {listed(columns)} from {table} limit 0",  # noqa: S608 — our own
    "insert": lambda table, columns: (
        f"insert into {table} ({listed(columns)}) "
        f"select {', '.join(f'null::{kind}' for _, kind in columns)} where false"
    ),
    "update": lambda table, columns: (
        f"update {table} set {', '.join(f'{name} = null' for name, _ in columns)} where false"  # noqa: S608 — our own
    ),
}
OF_A_TABLE = {
    "delete": "delete from {table} where false",
    "truncate": "truncate {table}",
    "trigger": "create trigger t after insert on {table} execute function tsvector_update_trigger()",
    "alter": "alter table {table} add column one_more integer",
    "unguard": "alter table {table} disable trigger all",
    "drop": "drop table {table}",
    "police": "create policy p on {table}",
    "index": "create index on {table} ((1))",
}
SEQUENCES = "select oid::regclass::text from pg_class where relkind = 'S'"
OF_A_SEQUENCE = ("select nextval('{}')", "select setval('{}', 1)", "select * from {}")
IN_THE_SCHEMA = (
    "create table public.mine (n integer)",
    "create function public.mine() returns integer language sql as 'select 1'",
    "create or replace function record_transition() returns trigger language plpgsql as 'begin end'",
    "alter function public.record_transition() security invoker",
)
BEYOND = (
    "create temporary table mine (n integer)", "create schema mine", "create role mine",
    "create database mine",
    "alter role {role} superuser", "drop schema public cascade", "set session_replication_role = replica",
    "set role {owner}", "alter system set fsync = off", "select * from pg_authid",
    "copy (select 1) to program 'true'", "select pg_read_file('PG_VERSION')",
)  # fmt: skip
NO_TEMPORARY = """
do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def refused(connection: asyncpg.Connection, sql: str) -> bool:
    try:
        await connection.execute(sql)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


async def carried_out(connection: asyncpg.Connection, sql: str) -> bool:
    """Try it, and take it back."""
    done = not await refused(connection, f"begin; {sql}; rollback")
    if not done:
        await connection.execute("rollback")
    return done


def listed(columns: Columns) -> str:
    return ", ".join(name for name, _ in columns)


def may(said: Said, verb: str, column: str) -> bool:
    columns = said.get(verb, frozenset())
    return verb in said and (columns is None or column.strip('"') in columns)


class Wrong(list[str]):
    """What is not as it was said."""

    def expect(self, what: str, done: bool, said: bool) -> None:
        if done is not said:
            self.append(f"{what}: {done}, and the page says {said}")


async def try_table(mine: asyncpg.Connection, table: Mapping[str, Any], said: Said, wrong: Wrong) -> None:
    """Ask of each column whether the right is granted; then use it on the columns for which it is said to be,
    and on one of the others.
    """
    name, columns = table["name"], json.loads(table["columns"])
    for column, _, _, granted in columns if table["here"] else ():
        for verb in ("select", "insert", "update", "references"):
            wrong.expect(f"granted {verb} of {name}.{column}", verb in granted, may(said, verb, column))
    for verb in ("delete", "truncate", "trigger", "maintain"):
        wrong.expect(f"granted {verb} of {name}", verb in table["granted"], verb in said)
    if table["is_view"]:
        return
    for verb, sql in OF_A_COLUMN.items():
        there = [(column, kind) for column, kind, can_be_written, _ in columns if can_be_written]
        yes = [(column, kind) for column, kind in there if may(said, verb, column)]
        no = [each for each in there if each not in yes][:1]
        for some, expected in ((yes, True), (no, False)):
            if some:
                wrong.expect(f"{verb} {some} of {name}", await carried_out(mine, sql(name, some)), expected)
    for verb, text in OF_A_TABLE.items():
        wrong.expect(f"{verb} {name}", await carried_out(mine, text.format(table=name)), verb in said)


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_role_may_do_in_each_table_what_the_page_says_and_nothing_else(
    database_url: str, db: asyncpg.Connection, kind: Kind
) -> None:
    await migrate.migrate(database_url, prefix="other", own=True)
    await db.execute(f"revoke all on schema public from public; {NO_TEMPORARY}")
    await db.execute("create table payments (n integer)")
    wrong, rows = Wrong(), said_of("table")
    functions = {name.replace(", ", ","): said for name, said in said_of("function").items()}
    async with roles(database_url, f"a{uuid4().hex[:10]}") as names:
        role = names[kind]
        tables = await db.fetch(TABLES, role)
        parts = {each["said"] for each in tables if each["is_part"]} - rows.keys()
        assert parts >= {(await db.fetchval("select max(name) from session_partitions"))}
        assert {each["said"] for each in tables if each["here"]} - parts == rows.keys() | {"payments"}
        assert len(tables) > 2 * len(rows)
        async with connected(as_user(database_url, role)) as mine:
            for table in tables:
                said = rows.get(table["said"], {}).get(kind.value, {}) if table["here"] else {}
                await try_table(mine, table, said, wrong)
            for (sequence,) in await db.fetch(SEQUENCES):
                for sql in (each.format(sequence) for each in OF_A_SEQUENCE):
                    wrong.expect(sql, await carried_out(mine, sql), said=False)
            for name, granted in await db.fetch(OF_THE_OWNER, role):
                said = functions.get(name, {}).get(kind.value, {})
                wrong.expect(f"execute {name}", granted, "execute" in said)
            owner = await db.fetchval("select quote_ident(current_user)")
            for sql in (*IN_THE_SCHEMA, *BEYOND):
                wrong.expect(sql, not await refused(mine, sql.format(role=role, owner=owner)), said=False)

    assert wrong == []


FORGERIES = (
    "update requests set response = '{{\"forged\": 1}}' where request_id = '{0}'",
    "update requests set status = 'failed', error_code = 'rejected' where request_id = '{0}'",
    "update recorded_transitions set at = '1999-01-01'",
    "delete from recorded_transitions",
    "insert into recorded_transitions values ('{0}', 7, 'failed')",
    "update audit set who = 'you'",
    "delete from audit",
    "insert into audit (who, action, at) values ('a', 'b', '1999-01-01')",
)


async def test_no_role_changes_the_history_a_stored_response_or_the_audit(
    database_url: str, db: asyncpg.Connection
) -> None:
    request_id = await put_request(db, None)
    await db.execute("insert into audit (who, action) values ('me', 'pause')")
    tables = "requests", "request_transitions", "recorded_transitions", "audit"

    async def seen() -> list[str]:
        return [await db.fetchval(f"select jsonb_agg(t) from {table} t") for table in tables]  # noqa: S608 — our own

    before = await seen()
    async with roles(database_url, f"a{uuid4().hex[:10]}") as names:
        for name in names.values():
            async with connected(as_user(database_url, name)) as mine:
                for sql in FORGERIES:
                    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError)):
                        await mine.execute(sql.format(request_id))

    assert await seen() == before


async def test_what_is_printed_is_what_is_granted(database_url: str, db: asyncpg.Connection) -> None:
    granted = (
        "select c.oid::regclass::text, coalesce(a.attname, ''), p.privilege_type from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid cross join aclexplode(a.attacl) as p"
        " join pg_roles r on r.oid = p.grantee where r.rolname = $1 union all"
        " select c.oid::regclass::text, '', p.privilege_type"
        " from pg_class c cross join aclexplode(c.relacl) as p"
        " join pg_roles r on r.oid = p.grantee where r.rolname = $1 union all"
        " select p.oid::regprocedure::text, '', x.privilege_type"
        " from pg_proc p cross join aclexplode(p.proacl) as x"
        " join pg_roles r on r.oid = x.grantee where r.rolname = $1"
    )
    mine, prefix = f"a{uuid4().hex[:10]}", f"b{uuid4().hex[:10]}"
    async with roles(database_url, mine) as names, roles(database_url, prefix) as others:
        for kind, name in others.items():
            await db.execute(f"revoke all on all tables in schema public from {name}")
            await db.execute(f"grant truncate on audit to {name}")
            await db.execute(script(kind, name, "public"))
            given = [set(map(tuple, await db.fetch(granted, each))) for each in (names[kind], name)]
            assert given[0] == given[1]
            assert len(given[0]) > 40


async def test_the_migrator_makes_and_grants_the_tables_and_can_do_nothing_beyond(
    empty_url: str, empty: asyncpg.Connection
) -> None:
    names = [f"m{uuid4().hex[:10]}_{what}" for what in ("migrator", "worker", "console")]
    role, worker, console = names
    owner = await empty.fetchval("select quote_ident(current_user)")
    try:
        for name in names:
            await migrate.create_role(empty_url, name, PASSWORD)
        await empty.execute("create table payments (n integer); create schema strange")
        await empty.execute("create table strange.t (n integer)")
        await empty.execute(owner_script(role, "public", own=False))
        url = as_user(empty_url, role)

        assert await migrate.migrate(url, prefix="mine")
        await migrate.grant(url, worker, prefix="mine")
        await migrate.grant(url, console, prefix="mine", kind=Kind.CONSOLE)
        await migrate.settle(as_user(empty_url, worker), None, "mine")
        await migrate.require_current(as_user(empty_url, console), prefix="mine")
        with pytest.raises(MigrationError, match="may not make the schema"):
            await migrate.migrate(url, prefix="second")
        await empty.execute(owner_script(role, own_schema("second"), own=True))
        owns = "select nspowner::regrole::text from pg_namespace where nspname = 'second'"
        assert await empty.fetchval(owns) == role
        with pytest.raises(MigrationError, match=f"{role} owns the tables"):
            await migrate.grant(url, role, prefix="mine", kind=Kind.CONSOLE)

        wrong = Wrong()
        async with connected(url) as mine:
            for table in await empty.fetch(TABLES, role):
                if table["name"] in ("payments", "strange.t"):
                    await try_table(mine, table, {}, wrong)
            for sql in BEYOND:
                wrong.expect(sql, not await refused(mine, sql.format(role=role, owner=owner)), said=False)
        assert wrong == []
    finally:
        await forget_roles(empty_url, *names)
