"""Commands use the tables of their own prefix."""

from uuid import uuid4

from support.access import forget_roles
from support.commands import Shell
from support.harness import delete_topology, run_in_process

from worker.postgres import migrate
from worker.settings import Settings
from worker.stack import Stack


async def test_each_command_sees_its_own_installation(shell: Shell, settings: Settings, stack: Stack) -> None:
    other = f"{settings.prefix}-b"
    request_id = str(uuid4())
    try:
        async with run_in_process(settings) as start:
            await start()
            refused = await shell.run("run", WORKER_PREFIX=other)
            lacking = await shell.run("migrate", "--check", WORKER_PREFIX=other)
            made = await shell.run("migrate", WORKER_PREFIX=other)
            current = await shell.run("migrate", "--check", WORKER_PREFIX=other)
            assert (refused.code, lacking.code, made.code, current.code) == (1, 1, 0, 0)
            assert f"belong to prefix {settings.prefix}" in refused.err
            assert f"WORKER_PREFIX={other} session-worker migrate" in refused.err
            assert "pending 0001_foundation" in lacking.out
            assert "applied 0002_installation" in made.out

            await start(prefix=other)
            for prefix in (settings.prefix, other):
                asked = await shell.run(
                    "request",
                    "--request-id",
                    request_id,
                    "--name",
                    f"of {prefix}",
                    "--json",
                    WORKER_PREFIX=prefix,
                )
                assert asked.code == 0, asked.err
                (found,) = (await shell.run("status", request_id, "--json", WORKER_PREFIX=prefix)).records
                assert found["session"]["name"] == f"of {prefix}"
    finally:
        await delete_topology(stack.amqp_url, other)


async def test_rights_are_given_by_a_command(shell: Shell) -> None:
    missing = await shell.run("migrate", "--grant", "nobody_of_this_name")

    assert missing.code == 1
    assert "there is no role nobody_of_this_name" in missing.err

    url, role = shell.variables["DATABASE_URL"], f"c{uuid4().hex[:10]}"
    await migrate.create_role(url, role, "made-up")
    try:
        given = await shell.run("migrate", "--grant", role, "--role", "console", "--json")
    finally:
        await forget_roles(url, role)
    assert given.records == [{"role": role, "schema": "public", "kind": "console"}]


async def test_the_sql_for_a_schema_of_its_own_is_printed_without_a_server() -> None:
    shown = await Shell(WORKER_PREFIX="tenant-b").run("migrate", "--sql", "--own-schema")

    assert shown.code == 0
    assert 'create schema if not exists "tenant-b"' in shown.out
    assert 'set local search_path = "tenant-b", pg_temp' in shown.out
    assert "values ('tenant-b', 'migrate')" in shown.out
