"""Submits many requests, some of them in flight at once, and yields their ids in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from uuid import UUID

from worker.client.request import Request, RequestMessage, message_of
from worker.process import own_task


async def submit_in_order(
    requests: Iterable[Request] | AsyncIterable[Request],
    submit: Callable[[RequestMessage], Coroutine[None, None, None]],
    window: int,
) -> AsyncGenerator[UUID, None]:
    """Submit the requests, `window` of them in flight, and yield each id when its request is confirmed."""
    if window < 1:
        raise ValueError("the window must be at least 1")
    in_flight: asyncio.Queue[tuple[UUID, asyncio.Task[None]] | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    async def feed() -> None:
        # On its own: whoever reads the ids must not wait for what comes next, which may wait for them.
        try:
            await room.acquire()
            async for request in _each(requests):
                message = message_of(request)
                sending = asyncio.create_task(submit(message))
                in_flight.put_nowait((message.request_id, sending))
                await room.acquire()
        finally:
            in_flight.put_nowait(None)

    feeding = asyncio.create_task(feed())
    try:
        while (oldest := await in_flight.get()) is not None:
            request_id, sending = oldest
            await sending
            room.release()
            yield request_id
        await feeding
    finally:
        await own_task.end([feeding])
        await own_task.end(left[1] for _ in range(in_flight.qsize()) if (left := in_flight.get_nowait()))


async def _each(requests: Iterable[Request] | AsyncIterable[Request]) -> AsyncGenerator[Request, None]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
