"""The loop of the retries wakes when the next one is due, and not later."""

import asyncio

from worker.postgres.alarm import Alarm


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_it_wakes_at_the_earliest_time_set() -> None:
    alarm, begun = Alarm(), now()
    waiting = asyncio.create_task(alarm.wait(3600))
    await asyncio.sleep(0)

    for seconds in (30, 0.05, 40):
        alarm.set(seconds)

    await asyncio.wait_for(waiting, 60)
    assert now() - begun >= 0.05


async def test_what_is_set_while_nobody_waits_is_not_forgotten() -> None:
    alarm = Alarm()
    alarm.set(0)

    await asyncio.wait_for(alarm.wait(3600), 60)
    alarm.set(0.01)
    await asyncio.wait_for(alarm.wait(3600), 60)


async def test_without_one_it_waits_as_long_as_it_was_told() -> None:
    alarm, begun = Alarm(), now()
    alarm.set(60)

    await alarm.wait(0.05)

    assert 0.05 <= now() - begun < 5
