"""Measures a well-behaved producer beside each attacker: its p99 against that of a quiet time.

    python -m bench.attackers                                   all of them: some twelve minutes
    python -m bench.attackers "zeros below a key" "many keys"   these
    python -m bench.attackers --per-second 50 --attacks 500 --most 2 --seconds 20 corpus
                                  those that the fuzzer kept (tests/fuzz/corpus), 50 times a second

Needs AMQP_URL and DATABASE_URL of servers that nothing else uses, and a machine with nothing else at work. An
attacker is a process of its own. The first one is none: a plain text as large as the largest attacks, sent as
often, tells what its bytes alone cost. A p99 of more than three times the quiet one (`--most`) ends it with exit code 1.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.contenders import THIS_WORKER
from bench.stage import Servers, Site, a_site, running, say
from worker.messages.request_ids import id_in_text
from worker.rabbitmq.topology import names_for

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the messages are those of the tests

from fuzz.corpus import corpus
from support.attackers import attacks, header_of_booleans
from support.raw_amqp import send_raw

RATE = 20  # of the well-behaved one, a second
CONTROL = "a plain text of 1 MiB"
BOOLEANS = "a header of booleans"
CORPUS = "corpus"
_ATTACK = "--attack"
_ANSWERED_SECONDS = 120
KEY = {"WORKER_SEAL_KEYS": "k1:" + "A" * 43 + "="}


class Plan(NamedTuple):
    """What the attacker sends, and for how long the well-behaved one does."""

    attacks: int
    per_second: float
    seconds: float


async def p99(site: Site, name: str | None, plan: Plan) -> float:
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
    attacking = await _attacker(site, name, plan) if name else None
    exchange = await channel.get_exchange(site.names.requests, ensure=False)
    for _ in range(int(RATE * plan.seconds)):
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
    async with asyncio.timeout(_ANSWERED_SECONDS):
        await answered.wait()
    if attacking and await attacking.wait():
        raise AssertionError(f"the attacker {name!r} failed")
    await channel.close()
    return quantiles(took, n=100)[98] * 1000


async def _attacker(site: Site, name: str, plan: Plan) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.attackers", _ATTACK, name, site.tag, str(plan.attacks), str(plan.per_second),
        env=site.environ, cwd=Path(__file__).parent.parent,
    )  # fmt: skip


async def attack(name: str, prefix: str, attacks_in_all: int, per_second: float) -> None:
    """Sends the same attack again and again, each time with an id of its own."""
    async with await aio_pika.connect(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(names_for(prefix).requests, ensure=False)
        begun = time.perf_counter()
        for number in range(1, attacks_in_all + 1):
            if name == BOOLEANS:
                await send_raw(channel, prefix, _request(uuid4(), {}), {"headers": header_of_booleans()})
            else:
                await exchange.publish(aio_pika.Message(_body(name, uuid4()), delivery_mode=2), "create")
            await asyncio.sleep(max(0.0, begun + number / per_second - time.perf_counter()))


def _body(name: str, request_id: UUID) -> bytes:
    if name == CONTROL:
        return _request(request_id, {"metadata": {"text": "x" * 1_000_000}})
    kept = dict(corpus())
    if name not in kept:
        return attacks(request_id)[name].body
    body, old = kept[name].body, id_in_text(kept[name].body)
    return body.replace(str(old).encode(), str(request_id).encode()) if old else body


def _request(request_id: UUID, more: dict[str, object]) -> bytes:
    whole = {"request_id": str(request_id), "org_id": "e", "operation": "create_session", "payload": {}}
    return json.dumps(whole | more).encode()


async def main(chosen: list[str], plan: Plan, most_ratio: float) -> int:
    servers = Servers(os.environ["AMQP_URL"], os.environ["DATABASE_URL"])
    worst = 0.0
    for name in [CONTROL, *(chosen or [BOOLEANS, *attacks()])]:
        async with a_site(servers, **KEY) as site, running(THIS_WORKER, site.environ):
            await p99(site, None, plan)  # warm
            quiet, beside = await p99(site, None, plan), await p99(site, name, plan)
        ratio = beside / quiet
        worst = max(worst, ratio if name != CONTROL else 0.0)
        say(f"{name:36} quiet {quiet:7.1f} ms  beside {beside:8.1f} ms  x {ratio:.1f}")
    return int(worst > most_ratio)


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.attackers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="ATTACK", help="these; `corpus`: those that the fuzzer kept"
    )
    parser.add_argument("--attacks", type=int, default=40, help="messages in all")
    parser.add_argument("--per-second", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=10, help="that the well-behaved producer asks for")
    parser.add_argument("--most", type=float, default=3, metavar="RATIO", help="of the two p99, that may be")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == [_ATTACK]:
        sys.exit(asyncio.run(attack(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
    given = _given()
    names = [each for name in given.names for each in (dict(corpus()) if name == CORPUS else [name])]
    sys.exit(asyncio.run(main(names, Plan(given.attacks, given.per_second, given.seconds), given.most)))
