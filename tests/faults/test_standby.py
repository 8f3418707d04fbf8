"""The primary Postgres dies under load and its standby is promoted: workers go on there."""

import asyncio
import os
from urllib.parse import urlsplit

import asyncpg
import pytest
from support.faults.load import Producers, keep_sending, keeping_books
from support.faults.processes import worker_processes
from support.faults.proxy import proxy_to
from support.faults.scene import Scene
from support.servers import server_sandbox

from worker.operations.promises import verify
from worker.postgres.migrate import migrate
from worker.stack import PostgresServer, Sandbox, Stack

REQUESTS = 200
SOME = 40


async def run(server: PostgresServer, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def until(server: PostgresServer, question: str) -> None:
    async with asyncio.timeout(60):
        while not await run(server, question):  # noqa: ASYNC110 — Postgres tells nobody
            await asyncio.sleep(0.05)


async def started_standby(
    sandbox: Sandbox, primary: PostgresServer, standby: PostgresServer, way: str
) -> None:
    """Start it with a copy of the primary's data, which it follows from there on. `way`: the URL to it."""
    standby._binaries, standby._password = primary._binaries, primary._password
    assert primary._binaries is not None
    standby._home.mkdir(mode=0o711)
    standby._data.mkdir(mode=0o700)
    if primary._user is not None:
        os.chown(standby._data, primary._user.uid, primary._user.gid)
    await sandbox.run(
        *(str(primary._binaries / "pg_basebackup"), "-D", str(standby._data), "-d", way),
        *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        env=primary._env, user=primary._user,
    )  # fmt: skip
    await standby.start()
    await until(primary, "select count(*) = 1 from pg_stat_replication where state = 'streaming'")


def one_url(servers: list[PostgresServer]) -> str:
    """Return the URL that names all of them: it leads to the one that can be written to."""
    parts = urlsplit(servers[0].url)
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    account = f"{parts.username}:{parts.password}"
    return f"postgresql://{account}@{hosts}/postgres?sslmode=disable&target_session_attrs=read-write"


@pytest.mark.timeout(400)
async def test_a_synchronous_standby_has_every_request_and_an_asynchronous_one_lacks_the_last(
    stack: Stack, prefix: str
) -> None:
    async with server_sandbox() as sandbox:
        first, second, third = servers = [PostgresServer(sandbox, os.environ) for _ in range(3)]
        await first.start()
        await migrate(first.url)
        await started_standby(sandbox, first, second, first.url)
        await run(first, "alter system set synchronous_standby_names = '*'")
        await run(first, "select pg_reload_conf()")
        await until(first, "select count(*) = 1 from pg_stat_replication where sync_state = 'sync'")

        scene = Scene(stack.amqp_url, one_url(servers), prefix)
        async with (
            worker_processes(1, scene.environ | {"WORKER_BATCH_SIZE": "5"}),
            keeping_books(stack.amqp_url, prefix) as books,
        ):
            producers = Producers(stack.amqp_url, prefix, books, open_at_most=REQUESTS)
            enough = asyncio.Event()
            sending = asyncio.create_task(keep_sending(producers, enough))
            await books.until_answered(SOME, 90, "at work")
            await books.until(lambda: books.open > 0, 90, "in flight")
            await first.kill()
            assert await run(second, "select pg_promote()")
            enough.set()
            await sending
            await books.until_all_answered(90)
            assert await verify(second.url, books.confirmed, books.received) == []

            async with proxy_to(second.url) as (network, way):
                await started_standby(sandbox, second, third, way)  # which nobody waits for
                assert network.stall() > 0
                await producers.send(SOME)
                await books.until_all_answered(90)
                assert network.held_bytes > 0
                await second.kill()
                network.cut()
            assert await run(third, "select pg_promote()")
            violations = await verify(third.url, books.confirmed, books.received)
            lost = {each.request_id for each in violations if each.promise == "nothing lost"}
            assert lost == {str(each) for each in books.confirmed[-SOME:]}
