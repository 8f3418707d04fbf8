"""The power of Postgres is cut under load, and what it had not synced is gone: no request is.

`make power-loss` cuts the power of RabbitMQ, and of everything at once, too.
"""

import asyncio

import pytest
from support.faults.load import Producers, keep_sending, keeping_books
from support.faults.power import POSTGRES_INITDB, powered
from support.faults.power_loss import weaken
from support.faults.processes import worker_processes
from support.faults.scene import Scene

from worker.operations.promises import verify
from worker.postgres.migrate import migrate
from worker.stack import PostgresServer, Stack

REQUESTS = 150
SOME = 40


@pytest.mark.timeout(400)
async def test_no_request_is_lost_with_the_power_unless_postgres_does_not_sync(
    stack: Stack, prefix: str
) -> None:
    async with powered() as (power, sandbox):
        postgres = PostgresServer(sandbox, power.environ, initdb=POSTGRES_INITDB)

        async def cut(survives_percent: int) -> None:
            await postgres.kill()
            assert await power.lose("postgres", survives_percent=survives_percent, seed=1) > 0
            await postgres.start()

        await postgres.start()
        await migrate(postgres.url)
        await power.write_out("postgres")
        scene = Scene(stack.amqp_url, postgres.url, prefix)
        async with (
            worker_processes(1, scene.environ | {"WORKER_BATCH_SIZE": "5"}),
            keeping_books(stack.amqp_url, prefix) as books,
        ):
            producers = Producers(stack.amqp_url, prefix, books, open_at_most=REQUESTS)
            for survives_percent in (0, 50):
                answered, enough = len(books.answered), asyncio.Event()
                sending = asyncio.create_task(keep_sending(producers, enough))
                await books.until_answered(answered + SOME, 90, "at work")
                await books.until(lambda: books.open > 0, 90, "in flight")
                await cut(survives_percent)
                enough.set()
                await sending
                await books.until_all_answered(90)
            assert await verify(postgres.url, books.confirmed, books.received) == []

            await weaken(postgres.url, "fsync=off")
            await power.write_out("postgres")
            await producers.send(SOME)
            await books.until_all_answered(90)
            await cut(survives_percent=0)
            violations = await verify(postgres.url, books.confirmed, books.received)
            lost = {each.request_id for each in violations if each.promise == "nothing lost"}
            assert lost == {str(each) for each in books.confirmed[-SOME:]}
