"""A well-behaved producer beside each attacker: its p99 against that of a quiet time.

    python -m bench.attackers

Needs AMQP_URL and DATABASE_URL of servers that nothing else uses, and a machine with nothing else at work. A
p99 of more than three times the quiet one ends it with exit code 1.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.contenders import THIS_WORKER
from bench.stage import Servers, Site, a_site, running, say

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the messages are those of the tests

from attackers import attacks, header_of_booleans
from raw_amqp import send_raw

RATE = 20  # of the well-behaved one, a second
SECONDS = 10
MOST_RATIO = 3.0
ATTACKS = 40
ATTACKS_PER_SECOND = 10
KEY = {"WORKER_SEAL_KEYS": "k1:" + "A" * 43 + "="}


async def p99(site: Site, name: str | None) -> float:
    """In milliseconds, of what the well-behaved one asked for while the attack went on and was worked off."""
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
    attacking = asyncio.create_task(_attack(site, name)) if name else None
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
    if attacking:
        await attacking
    await channel.close()
    return quantiles(took, n=100)[98] * 1000


async def _attack(site: Site, name: str) -> None:
    channel = await site.connection.channel()
    for _ in range(ATTACKS):
        request_id = uuid4()
        if name == "a header of booleans":
            body = json.dumps(
                {"request_id": str(request_id), "org_id": "e", "operation": "create_session", "payload": {}}
            )
            await send_raw(channel, site.tag, body.encode(), {"headers": header_of_booleans()})
        else:
            exchange = await channel.get_exchange(site.names.requests, ensure=False)
            await exchange.publish(
                aio_pika.Message(attacks(request_id)[name].body, delivery_mode=2), "create"
            )
        await asyncio.sleep(1 / ATTACKS_PER_SECOND)


async def main() -> int:
    servers = Servers(os.environ["AMQP_URL"], os.environ["DATABASE_URL"])
    worst = 0.0
    for name in ["a header of booleans", *attacks()]:
        async with a_site(servers, **KEY) as site, running(THIS_WORKER, site.environ):
            await p99(site, None)  # warm
            quiet, beside = await p99(site, None), await p99(site, name)
        ratio = beside / quiet
        worst = max(worst, ratio)
        say(f"{name:36} quiet {quiet:7.1f} ms  beside {beside:8.1f} ms  x {ratio:.1f}")
    return int(worst > MOST_RATIO)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
