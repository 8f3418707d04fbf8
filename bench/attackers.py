"""Measures a well-behaved producer beside each attacker: its p99 against that of a quiet time.

    python -m bench.attackers                                   all of them: some twelve minutes
    python -m bench.attackers "zeros below a key" "many keys"   these

Needs AMQP_URL and DATABASE_URL of servers that nothing else uses, and a machine with nothing else at work. An
attacker is a process of its own. The first one is none: a plain text as large as the largest attacks, sent as
often, tells what its bytes alone cost. A p99 of more than three times the quiet one ends it with exit code 1.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from statistics import quantiles
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.contenders import THIS_WORKER
from bench.stage import Servers, Site, a_site, running, say
from worker.rabbitmq.topology import names_for

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the messages are those of the tests

from support.attackers import attacks, header_of_booleans
from support.raw_amqp import send_raw

RATE = 20  # of the well-behaved one, a second
SECONDS = 10
MOST_RATIO = 3.0
ATTACKS = 40
ATTACKS_PER_SECOND = 10
CONTROL = "a plain text of 1 MiB"
BOOLEANS = "a header of booleans"
_ATTACK = "--attack"
KEY = {"WORKER_SEAL_KEYS": "k1:" + "A" * 43 + "="}


async def p99(site: Site, name: str | None) -> float:
    """Returns the p99 in milliseconds of the well-behaved producer's requests during an attack and its aftermath."""
    channel = await site.connection.channel()
    replies = await channel.declare_queue(exclusive=True)
    sent: dict[str, float] = {}
    took: list[float] = []
    answered = asyncio.Event()

    async def heard(message: AbstractIncomingMessage) -> None:
        took.append(time.perf_counter() - sent.pop(str(message.correlation_id)))
        if not sent:
            answered.set()

    await replies.consume(heard, no_ack=True)
    attacking = await _attacker(site, name) if name else None
    exchange = await channel.get_exchange(site.names.requests, ensure=False)
    for _ in range(RATE * SECONDS):
        request_id = str(uuid4())
        body = {"request_id": request_id, "org_id": "good", "operation": "create_session", "payload": {}}
        sent[request_id] = time.perf_counter()
        answered.clear()
        await exchange.publish(
            aio_pika.Message(
                json.dumps(body).encode(), reply_to=replies.name, correlation_id=request_id, delivery_mode=2
            ),
            "create",
        )
        await asyncio.sleep(1 / RATE)
    async with asyncio.timeout(120):
        await answered.wait()
    if attacking and await attacking.wait():
        raise AssertionError(f"the attacker {name!r} failed")
    await channel.close()
    return quantiles(took, n=100)[98] * 1000


async def _attacker(site: Site, name: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.attackers", _ATTACK, name, site.tag,
        env=site.environ, cwd=Path(__file__).parent.parent,
    )  # fmt: skip


async def attack(name: str, prefix: str) -> None:
    """Sends the same attack again and again, each time with an id of its own."""
    async with await aio_pika.connect(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(names_for(prefix).requests, ensure=False)
        for request_id in (uuid4() for _ in range(ATTACKS)):
            if name == BOOLEANS:
                await send_raw(channel, prefix, _request(request_id, {}), {"headers": header_of_booleans()})
            else:
                body = (
                    _request(request_id, {"metadata": {"text": "x" * 1_000_000}})
                    if name == CONTROL
                    else attacks(request_id)[name].body
                )
                await exchange.publish(aio_pika.Message(body, delivery_mode=2), "create")
            await asyncio.sleep(1 / ATTACKS_PER_SECOND)


def _request(request_id: UUID, more: dict[str, object]) -> bytes:
    whole = {"request_id": str(request_id), "org_id": "e", "operation": "create_session", "payload": {}}
    return json.dumps(whole | more).encode()


async def main(chosen: list[str]) -> int:
    servers = Servers(os.environ["AMQP_URL"], os.environ["DATABASE_URL"])
    worst = 0.0
    for name in [CONTROL, *(chosen or [BOOLEANS, *attacks()])]:
        async with a_site(servers, **KEY) as site, running(THIS_WORKER, site.environ):
            await p99(site, None)  # warm
            quiet, beside = await p99(site, None), await p99(site, name)
        ratio = beside / quiet
        worst = max(worst, ratio if name != CONTROL else 0.0)
        say(f"{name:36} quiet {quiet:7.1f} ms  beside {beside:8.1f} ms  x {ratio:.1f}")
    return int(worst > MOST_RATIO)


if __name__ == "__main__":
    if sys.argv[1:2] == [_ATTACK]:
        sys.exit(asyncio.run(attack(*sys.argv[2:])))
    sys.exit(asyncio.run(main(sys.argv[1:])))
