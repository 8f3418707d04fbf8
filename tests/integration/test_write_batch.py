"""The batch write reaches behind the client's interface, and agrees with the installed client."""

import asyncio

import aio_pika
import pytest
from aiormq.exceptions import AMQPError
from pamqp import commands as spec
from support.confirm_channel import Bench, open_channel
from support.faults.proxy import proxy_to
from support.harness import eventually

from worker.rabbitmq.aiormq_version import inside_is_known
from worker.rabbitmq.writing import Outgoing, write_batch, write_one
from worker.stack import Stack
from worker.values import Receipt

CONFIRMED, UNROUTABLE, REFUSED = Receipt.CONFIRMED, Receipt.UNROUTABLE, Receipt.REFUSED


async def test_the_installed_client_is_the_one_this_was_tested_with() -> None:
    assert inside_is_known("")


async def test_a_batch_is_confirmed_and_arrives_in_order(bench: Bench) -> None:
    bodies = [f"{number}".encode() for number in range(256)]

    receipts = await write_batch(bench.channel, [bench.message(body) for body in bodies])

    assert receipts == [CONFIRMED] * 256
    assert await bench.arrived(256) == bodies
    bench.assert_nothing_left_over()


async def test_properties_arrive_as_they_were_given(bench: Bench) -> None:
    properties = spec.Basic.Properties(
        content_type="application/json", delivery_mode=2, correlation_id="ü" * 127, message_id="m-1",
        message_type="T", app_id="a", headers={"traceparent": "t"},
    )  # fmt: skip

    await write_batch(bench.channel, [Outgoing("", bench.queue.name, b"", properties)])

    message = await bench.queue.get(no_ack=True)
    assert (message.body, message.correlation_id, message.headers) == (b"", "ü" * 127, {"traceparent": "t"})
    assert (message.content_type, message.delivery_mode, message.type) == ("application/json", 2, "T")


async def test_each_returned_message_is_told_from_the_others(bench: Bench) -> None:
    messages = [bench.nowhere() if number % 3 == 0 else bench.message() for number in range(100)]

    receipts = await write_batch(bench.channel, messages)

    assert receipts == [UNROUTABLE if number % 3 == 0 else CONFIRMED for number in range(100)]
    assert len(await bench.arrived(66)) == 66
    bench.assert_nothing_left_over()


async def test_a_message_that_a_full_queue_refuses_is_told_from_the_others(bench: Bench) -> None:
    looking = await bench.connection.channel()
    full = await looking.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    filling = bench.message(to=full.name)
    assert await write_batch(bench.channel, [filling]) == [CONFIRMED]

    receipts = await write_batch(
        bench.channel, [bench.message(), bench.message(to=full.name), bench.nowhere(), bench.message()]
    )

    assert receipts == [CONFIRMED, REFUSED, UNROUTABLE, CONFIRMED]
    assert await write_one(bench.channel, bench.message(to=full.name)) is REFUSED
    bench.assert_nothing_left_over()


async def test_confirms_go_a_short_way_and_never_before_a_return(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_batch(bench.channel, [bench.message()])  # with its frame the channel becomes known
    left_to_library: list[type] = []
    put = bench.channel.frames.put

    async def note(item: tuple[int, object]) -> None:
        left_to_library.append(type(item[1]))
        await put(item)

    monkeypatch.setattr(bench.channel.frames, "put", note)
    for returned in (1_000, 7, 2, 1_000):  # every seventh, every second, none
        messages = [bench.nowhere() if n % returned == 1 else bench.message() for n in range(2, 102)]
        left_to_library.clear()

        receipts = await write_batch(bench.channel, messages)

        assert receipts == [UNROUTABLE if n % returned == 1 else CONFIRMED for n in range(2, 102)]
        assert (spec.Basic.Ack in left_to_library) == (spec.Basic.Return in left_to_library)
        assert (spec.Basic.Return in left_to_library) == (returned < 1_000)
    bench.assert_nothing_left_over()


async def test_batches_and_the_client_s_own_publishes_share_the_numbers(bench: Bench) -> None:
    async def batch(size: int) -> list[Receipt]:
        return await write_batch(
            bench.channel, [bench.message() if number % 2 else bench.nowhere() for number in range(size)]
        )

    results = await asyncio.gather(
        *(batch(20) for _ in range(5)),
        *(write_one(bench.channel, bench.message()) for _ in range(25)),
        *(write_one(bench.channel, bench.nowhere()) for _ in range(25)),
        *(batch(7) for _ in range(5)),
    )

    assert results == [
        *[[UNROUTABLE, CONFIRMED] * 10] * 5,
        *[CONFIRMED] * 25,
        *[UNROUTABLE] * 25,
        *[[UNROUTABLE, CONFIRMED] * 3 + [UNROUTABLE]] * 5,
    ]
    assert bench.channel.delivery_tag == 5 * 20 + 50 + 5 * 7
    assert len(await bench.arrived(50 + 25 + 15)) == 90
    bench.assert_nothing_left_over()


@pytest.mark.parametrize("over", [-1, 0, 1, 2_000_001])
async def test_a_large_body_is_split_into_frames(bench: Bench, over: int) -> None:
    body = bytes(range(256)) * ((bench.channel.max_content_size + over) // 256 + 1)
    body = body[: bench.channel.max_content_size + over]

    assert await write_batch(bench.channel, [bench.message(body), bench.message(b"after")]) == [CONFIRMED] * 2

    assert await bench.arrived(2) == [body, b"after"]


async def test_a_channel_that_the_broker_closes_rejects_the_batch(bench: Bench) -> None:
    wrong = bench.message()._replace(exchange="no.such.exchange")

    with pytest.raises(AMQPError):
        await write_batch(bench.channel, [bench.message(), wrong, bench.message()])

    assert bench.channel.is_closed
    with pytest.raises((AMQPError, RuntimeError)):
        await write_batch(bench.channel, [bench.message()])


async def test_a_connection_cut_after_the_write_rejects_the_batch(stack: Stack, bench: Bench) -> None:
    cut = 0
    async with proxy_to(stack.amqp_url) as (proxy, url), await aio_pika.connect(url) as connection:
        channel = await open_channel(connection)

        async def break_off() -> None:
            nonlocal cut
            proxy.stall()
            cut = proxy.cut()

        with pytest.raises((AMQPError, OSError, asyncio.CancelledError)):
            await write_batch(channel, [bench.message() for _ in range(10)], break_off)

    assert cut == 1


async def test_a_write_that_is_cancelled_gives_its_numbers_back(bench: Bench) -> None:
    await write_batch(bench.channel, [bench.message()])
    queue, full = bench.channel.write_queue, asyncio.Queue[object](1)
    full.put_nowait(None)
    bench.channel.write_queue = full
    writing = asyncio.create_task(write_batch(bench.channel, [bench.message(), bench.nowhere()]))

    async def begun() -> bool:
        return bench.channel.delivery_tag == 3

    await eventually(begun)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert bench.channel.delivery_tag == 1
    bench.assert_nothing_left_over()
    bench.channel.write_queue = queue
    assert await write_batch(bench.channel, [bench.nowhere(), bench.message()]) == [UNROUTABLE, CONFIRMED]
    assert bench.channel.delivery_tag == 3
