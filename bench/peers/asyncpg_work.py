"""The work through asyncpg, for the asynchronous peers."""

import asyncpg

from bench.peers.common import ACCEPT, CLAIM, DATABASE_URL, FINISH, POOL, SESSION, Task, numbered

_ACCEPT, _CLAIM, _SESSION, _FINISH = (numbered(one) for one in (ACCEPT, CLAIM, SESSION, FINISH))


async def open_pool() -> asyncpg.Pool:
    return await asyncpg.create_pool(
        DATABASE_URL, min_size=POOL, max_size=POOL, server_settings={"jit": "off"}
    )


async def record(pool: asyncpg.Pool, task: Task) -> None:
    async with pool.acquire() as connection:
        await connection.execute(_ACCEPT, *task.accept)
        await connection.execute(_CLAIM, *task.claim)
        async with connection.transaction():
            await connection.execute(_SESSION, *task.session)
            await connection.execute(_FINISH, *task.finish)
