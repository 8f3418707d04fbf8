"""A real worker takes hostile messages from RabbitMQ: it answers or buries each of them, and goes on."""

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aio_pika.abc import AbstractIncomingMessage
from aiormq.channel import Channel
from fuzz.cases import Case, case
from fuzz.judging import KEY_TEXT, KEYS, LIMIT, Outcome, outcome_of
from pamqp import commands as spec
from pydantic import SecretStr
from support.harness import Desk, NewWorker, eventually, good_request, response_in

from worker.messages.decoding import Limits, decode
from worker.rabbitmq.topology import names_for

FIRST, CASES = 1_000_000, 300
_ALL_SECONDS = 90
_REFUSED = {"expiration", "user_id"}  # what the broker itself looks at, and closes the channel over
_IN_TIME = {"deadline", "not_before"}  # what depends on the clock


async def test_a_worker_answers_or_buries_each_of_them_and_goes_on(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    worker = await new_worker(seal_keys=SecretStr(KEY_TEXT))
    expected = _expected(desk)
    dead = await desk.channel.get_queue(names_for(desk.prefix).dead, ensure=False)
    buried: dict[str, AbstractIncomingMessage] = {}

    async def note(message: AbstractIncomingMessage) -> None:
        buried[str(message.correlation_id)] = message

    await dead.consume(note, no_ack=True)
    channel = await desk.channel.get_underlay_channel()
    assert isinstance(channel, Channel)
    exchange = names_for(desk.prefix).requests
    for one, _ in expected.values():
        properties = spec.Basic.Properties(**one.properties)
        await channel.basic_publish(one.body, exchange=exchange, routing_key="create", properties=properties)

    answers: dict[str, str] = {}
    told = {number for number, (_, outcome) in expected.items() if outcome.kind != "unreadable"}
    async with asyncio.timeout(_ALL_SECONDS):
        while not told <= answers.keys():
            answer = await desk.arrived.get()
            number = str(answer.correlation_id)
            assert number not in answers, f"case {number} is answered once"
            response = response_in(answer)
            answers[number] = response.metadata.get("code") or response.status

    unreadable = {number for number, (_, outcome) in expected.items() if outcome.kind == "unreadable"}

    async def all_are_buried() -> bool:
        return unreadable <= buried.keys()

    await eventually(all_are_buried)
    assert not worker.task.done(), "the worker goes on"
    await desk.send(good_request(), correlation_id="after")
    while (last := await desk.next()).correlation_id != "after":
        pass  # the answer to one that is buried, too
    assert response_in(last).status == "completed"
    await desk.until_there_are(0, exchange)
    for number in told:
        outcome = expected[number][1]
        wanted = "completed" if outcome.kind == "completed" else outcome.code or "cancelled"
        assert answers[number] == wanted, f"case {number}"
    completed = sum(outcome.kind == "completed" for _, outcome in expected.values())
    assert await db.fetchval("select count(*) from sessions") == completed + 1
    assert min(completed, len(buried)) > 5


def _expected(desk: Desk) -> dict[str, tuple[Case, Outcome]]:
    """Choose the cases, each with an id and a number of its own, and say what has to become of each."""
    now, seen = datetime.now(UTC), set()
    chosen: dict[str, tuple[Case, Outcome]] = {}
    for number in range(FIRST, FIRST + CASES):
        made = case(number)
        name = f"case-{number}"
        properties = {
            field: value
            for field, value in made.properties.items()
            if field not in _REFUSED and not isinstance(value, bytearray)
        } | {
            "reply_to": desk.reply_to,
            "correlation_id": name,
            "delivery_mode": 2,
        }
        if "headers" in properties:
            properties["headers"] = {
                field: value
                for field, value in properties["headers"].items()
                if field not in _IN_TIME and _is_taken(value)
            }
        one = Case(made.body, properties)
        outcome = outcome_of(decode(one.message(), Limits(LIMIT), KEYS, now))
        if outcome.request_id in seen:
            continue  # of two with one id, the later gets the answer
        if outcome.request_id:
            seen.add(outcome.request_id)
        chosen[name] = one, outcome
    return chosen


def _is_taken(value: Any) -> bool:
    """Whether RabbitMQ takes it in a header."""
    return not (isinstance(value, float) and not math.isfinite(value))
