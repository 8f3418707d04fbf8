"""A message that is large, or ends the process that reads it, takes no other along."""

import asyncio
from uuid import UUID, uuid4

import psutil
from support.attackers import attacks, request
from support.faults.processes import WorkerProcess
from support.faults.scene import Scene
from support.harness import declared_counts, good_request, metric_becomes, open_desk, response_in

KILLER = {"WORKER_FAIL_POINT": "while_reading:kill:KILLER"}
HEAVY = request(metadata=f'{{"a":"{"x" * 100_000}"}}')
KILLS = 3  # until it is suspect


def readers_of(worker: WorkerProcess) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children()


async def test_a_large_message_among_others_takes_none_of_them_along(scene: Scene) -> None:
    """One of 90 kB that once took gigabytes comes between twenty good ones: all are answered at once."""
    worker = WorkerProcess(scene.environ)
    await worker.start()
    try:
        async with open_desk(scene.amqp_url, scene.prefix) as desk:
            asked = set()
            for number in range(21):
                request_id = uuid4()
                asked.add(request_id)
                bomb = attacks(request_id)["zeros below a key"].body
                await desk.send(bomb if number == 10 else good_request(request_id))
            answers = [response_in(message) for message in await desk.different(len(asked))]
            assert {one.request_id: one.status for one in answers} == dict.fromkeys(asked, "completed")
            assert await declared_counts(desk) == {"requests": 0, "undelivered": 0, "dead": 0}
        assert worker.exit_code is None
    finally:
        await worker.end()


async def test_what_kills_each_process_that_reads_it_is_found_out_and_costs_no_neighbour(
    scene: Scene,
) -> None:
    worker = WorkerProcess({**scene.environ, **KILLER})
    kills = 0
    try:
        async with open_desk(scene.amqp_url, scene.prefix) as desk:
            await worker.start()
            end = asyncio.create_task(worker.wait())
            asked = {uuid4() for _ in range(20)}
            killer = uuid4()
            for number, request_id in enumerate(asked):
                if number == 10:
                    await desk.send(request(metadata='{"a":"KILLER"}', request_id=killer))
                await desk.send(good_request(request_id))

            answers: dict[UUID, str] = {}
            while len(answers) <= len(asked):
                answer = asyncio.create_task(desk.arrived.get())
                await asyncio.wait([answer, end], return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    told = response_in(answer.result())
                    answers[told.request_id] = told.metadata.get("code") or told.status
                    continue
                answer.cancel()
                assert end.result() == -9
                kills += 1
                assert kills <= KILLS + 1, "it is not read in the worker again"
                await worker.start(until_ready=False)  # it may be killed before it says so
                end = asyncio.create_task(worker.wait())

            assert answers == {killer: "attempts_exhausted"} | dict.fromkeys(asked, "completed")
            assert kills >= KILLS, "the fault happened"
            assert worker.exit_code is None
            await worker.event("reader.died")
            last = uuid4()
            await desk.send(good_request(last))
            while (told := response_in(await desk.next())).request_id != last:
                assert told.request_id in answers, "a second copy, of what a killed one had answered"
            assert told.status == "completed"
            # Copies of what is answered already, too, are settled by now: else they would be given back.
            await metric_becomes(0, worker, "worker_buffered_requests")
            await metric_becomes(0, worker, "worker_in_flight_requests")
            worker.terminate()
            assert await end == 0
            assert await declared_counts(desk) == {"requests": 0, "undelivered": 0, "dead": 0}
    finally:
        await worker.end()


async def test_the_process_that_reads_outlives_no_worker(scene: Scene) -> None:
    for how in ("kill", "terminate"):
        worker = WorkerProcess(scene.environ)
        await worker.start()
        try:
            async with open_desk(scene.amqp_url, scene.prefix) as desk:
                await desk.send(HEAVY)
                assert response_in(await desk.next()).status == "completed"
            (reader,) = readers_of(worker)
            if how == "kill":
                await worker.kill()
            else:
                worker.terminate()
                assert await worker.wait() == 0
            await scene.until(lambda one=reader: not one.is_running(), "the end of the process that reads")  # type: ignore[misc]
        finally:
            await worker.end()
