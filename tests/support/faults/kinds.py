"""The kinds of faults of each chaos run: of workers, servers and networks, and what people hold back."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg
from support.faults.proxy import Proxy
from support.faults.stage import POSTGRES, RABBITMQ, WORKERS, Kind, Stage, kind
from support.servers import Faulty

_WAITING = "select count(*) from requests where waits_in is not null"
_LOOK_SECONDS = 0.05


async def _kill_worker(stage: Stage, dice: random.Random) -> str:
    victim = dice.choice(stage.workers)
    await victim.kill()
    proof = f"exit code {victim.exit_code}"
    await asyncio.sleep(dice.uniform(0, 3))
    await victim.start(until_ready=False)
    return proof


async def _freeze_worker(stage: Stage, dice: random.Random) -> str:
    victim = dice.choice(stage.workers)
    victim.freeze()
    await asyncio.sleep(0.1)
    proof = f"state {victim.state}"
    await asyncio.sleep(dice.uniform(0.5, 6))
    victim.thaw()
    return proof


async def _kill_all_workers(stage: Stage, _dice: random.Random) -> str:
    await asyncio.gather(*(worker.kill() for worker in stage.workers))
    codes = [worker.exit_code for worker in stage.workers]
    await asyncio.gather(*(worker.start(until_ready=False) for worker in stage.workers))
    return f"exit codes {codes}"


async def _terminate_worker(stage: Stage, dice: random.Random) -> str:
    victim = dice.choice(stage.workers)
    victim.terminate()
    code = await victim.wait()
    await victim.start(until_ready=False)
    return f"exit code {code}"


def _holding_back(put: str, take_away: str) -> Kind:
    """Makes a fault of a pause or a limit: requests have to wait, and go on after it."""

    async def hold_back(stage: Stage, dice: random.Random) -> str:
        connection = await asyncpg.connect(stage.postgres.url)
        try:
            before = await connection.fetchval(_WAITING)
            await connection.execute(put)
            async with asyncio.timeout(60):
                while (waiting := await connection.fetchval(_WAITING)) <= before:  # noqa: ASYNC110 — as below
                    await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.sleep(dice.uniform(1, 4))
        finally:
            await connection.execute(take_away)
            await connection.close()
        return f"{waiting} had to wait"

    return kind(hold_back, POSTGRES)


def _server_faults(name: str, pick: Callable[[Stage], Faulty]) -> dict[str, Kind]:
    async def kill(stage: Stage, dice: random.Random) -> str:
        await pick(stage).kill()
        await asyncio.sleep(dice.uniform(0, 3))
        await pick(stage).start()
        return "killed, and started again on its port"

    async def freeze(stage: Stage, dice: random.Random) -> str:
        await pick(stage).freeze()
        seconds = dice.uniform(1, 8)
        await asyncio.sleep(seconds)
        await pick(stage).thaw()
        return f"stopped in its tracks for {seconds:.1f} s"

    async def restart(stage: Stage, _dice: random.Random) -> str:
        await pick(stage).stop()
        await pick(stage).start()
        return "stopped in order, and started again"

    found = {"killed": kill, "frozen": freeze, "restarted": restart}
    return {f"{name} {what}": kind(do, name) for what, do in found.items()}


def _network_faults(name: str, pick: Callable[[Stage], Proxy]) -> dict[str, Kind]:
    async def cut(stage: Stage, _dice: random.Random) -> str:
        return f"{(await connected(pick(stage))).cut()} connections ended"

    async def reset(stage: Stage, _dice: random.Random) -> str:
        return f"{(await connected(pick(stage))).cut(reset=True)} connections reset"

    async def refuse(stage: Stage, dice: random.Random) -> str:
        broken = (await connected(pick(stage))).cut(refuse=True)
        await asyncio.sleep(dice.uniform(1, 5))
        pick(stage).heal()
        return f"{broken} connections ended, new ones refused for a while"

    async def delay(stage: Stage, dice: random.Random) -> str:
        proxy = await connected(pick(stage))
        proxy.delay_seconds = dice.uniform(0.05, 0.3)
        slow = f"{proxy.delay_seconds:.2f} s on each chunk of {proxy.connections} connections"
        await asyncio.sleep(dice.uniform(1, 4))
        proxy.heal()
        return slow

    async def half_open(stage: Stage, dice: random.Random) -> str:
        proxy = await connected(pick(stage))
        connections, before = proxy.stall(), proxy.held_bytes
        await asyncio.sleep(dice.uniform(1, 8))
        held = proxy.held_bytes - before
        proxy.cut()
        proxy.heal()
        return f"{connections} connections stalled, at least {held} bytes held back, then dropped"

    found: dict[str, Callable[[Stage, random.Random], Awaitable[str]]] = {
        "cut": cut,
        "reset": reset,
        "refused": refuse,
        "slow": delay,
        "half-open": half_open,
    }
    return {f"network to {name} {what}": kind(do, name) for what, do in found.items()}


async def connected(proxy: Proxy) -> Proxy:
    """Waits for a connection to break: a worker may still be on its way back from the fault before."""
    async with asyncio.timeout(60):
        while not proxy.connections:  # noqa: ASYNC110 — a proxy tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
    return proxy


_PAUSE = "insert into pauses (scope, name, reason, paused_by) values "
_LIMIT = "insert into limits (scope, name, source, running, rate, burst, set_by) values "
HELD_BACK = {
    "all paused": _holding_back(_PAUSE + "('all', '', 'chaos', 'me')", "delete from pauses"),
    "some paused": _holding_back(
        _PAUSE + "('org', 'org-1', 'chaos', 'me'), ('org', 'org-4', 'chaos', 'me')", "delete from pauses"
    ),
    "running limited": _holding_back(
        _LIMIT + "('each', '', 'command', 4, null, null, 'me'), ('all', '', 'command', 20, null, null, 'me')",
        "delete from limits",
    ),
    "rate limited": _holding_back(
        _LIMIT + "('each', '', 'command', null, 30, 10, 'me')", "delete from limits"
    ),
}
KINDS: dict[str, Kind] = {
    **HELD_BACK,
    "worker killed": kind(_kill_worker, WORKERS),
    "worker frozen": kind(_freeze_worker, WORKERS),
    "all workers killed": kind(_kill_all_workers, WORKERS),
    "worker terminated": kind(_terminate_worker, WORKERS),
    **_server_faults(RABBITMQ, lambda stage: stage.rabbit),
    **_server_faults(POSTGRES, lambda stage: stage.postgres),
    **_network_faults(RABBITMQ, lambda stage: stage.to_rabbit),
    **_network_faults(POSTGRES, lambda stage: stage.to_postgres),
}
