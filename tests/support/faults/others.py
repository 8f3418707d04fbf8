"""Other clients use the ids of requests at the same time: they repeat, contradict, cancel and look."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from uuid import UUID

import aio_pika
import asyncpg
from aio_pika.abc import AbstractConnection
from linear.specification import ABSENT, Asked, Cancelled
from support.faults.load import BROKER_ERRORS, CASEFILE, Books, Hosts, publish, request_for, subscribe

from worker import law
from worker.rabbitmq.topology import names_for

OTHER_CASEFILE = "cf_260101_b"
_DELAYS = (0, 0, 0.02, 0.2, 2, 6)  # seconds: some come before the request itself
_OF = 100  # of so many ids, one goes to each of the deeds
_AGAIN_SECONDS = 0.3
_LOOK_SECONDS = 0.2
_WATCHED_AT_MOST = 60
_LOOKS_AFTER_THE_END = 3
_DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
)
_STATUS = "select request_id, status, attempt from requests where request_id = any($1)"


class Others:
    """Does with one request id in ten what somebody else may do. The id says what, and when."""

    def __init__(self, amqp_url: str, prefix: str, books: Books) -> None:
        self.replies = f"{prefix}-others"
        self._exchange = names_for(prefix).requests
        self._hosts = Hosts(amqp_url)
        self._books = books
        self._connecting = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: object = None
        self._met: set[UUID] = set()
        self._doing: set[asyncio.Task[None]] = set()
        self._watched: dict[UUID, int] = {}  # how often to look at them after their end
        self._last_seen: dict[UUID, tuple[str, int]] = {}
        deeds: tuple[Callable[[UUID], None], ...] = (
            partial(self._later, self._ask, CASEFILE, None),
            partial(self._later, self._ask, CASEFILE, self.replies),
            partial(self._later, self._ask, OTHER_CASEFILE, None),
            partial(self._later, self._ask, OTHER_CASEFILE, self.replies),
            partial(self._later, self._cancel, None),
            partial(self._later, self._cancel, self.replies),
            self._watch,
            self._watch_what_is_cancelled,
            self._watch_what_is_repeated,
        )
        self._deeds = dict(enumerate(deeds))

    def meet(self, request_id: UUID) -> None:
        """Takes note of an id that is sent now."""
        if (deed := self._deeds.get(_dice(request_id) % _OF)) is not None and request_id not in self._met:
            self._met.add(request_id)
            deed(request_id)

    async def until_done(self, seconds: float) -> None:
        """Waits until the broker has confirmed all that they send."""
        if self._doing:
            _, late = await asyncio.wait(self._doing, timeout=seconds)
            assert not late, f"{len(late)} messages of others were not confirmed within {seconds} s"

    async def look(self, database_url: str) -> None:
        """Looks at requests for ever, through every loss of the database."""
        while True:
            with suppress(*_DATABASE_ERRORS):
                connection = await asyncpg.connect(database_url, timeout=5, command_timeout=20)
                try:
                    while True:
                        await self._look_once(connection)
                        await asyncio.sleep(_LOOK_SECONDS)
                finally:
                    connection.terminate()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def close(self) -> None:
        for task in self._doing:
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    def _later(self, do: Callable[..., Coroutine[None, None, None]], *details: object) -> None:
        """Does it after a while. The last of the details is the id."""
        task = asyncio.create_task(do(*details))
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    def _watch(self, request_id: UUID) -> None:
        if len(self._watched) < _WATCHED_AT_MOST:
            self._watched[request_id] = _LOOKS_AFTER_THE_END

    def _watch_what_is_cancelled(self, request_id: UUID) -> None:
        self._watch(request_id)
        self._later(self._cancel, None, request_id)
        self._later(self._ask, CASEFILE, None, request_id)

    def _watch_what_is_repeated(self, request_id: UUID) -> None:
        self._watch(request_id)
        self._later(self._ask, OTHER_CASEFILE, None, request_id)

    async def _ask(self, casefile: str, reply_to: str | None, request_id: UUID) -> None:
        body = json.dumps(request_for(request_id, casefile)).encode()
        await self._send(request_id, Asked(casefile), body, "create", reply_to)

    async def _cancel(self, reply_to: str | None, request_id: UUID) -> None:
        body = json.dumps({"request_id": str(request_id), "operation": "cancel_session"}).encode()
        await self._send(request_id, Cancelled(), body, "cancel", reply_to, type="CancelSessionRequest")

    async def _send(
        self,
        request_id: UUID,
        what: Asked | Cancelled,
        body: bytes,
        key: str,
        reply_to: str | None,
        **properties: str,
    ) -> None:
        """Sends it after a while, and again until the broker has confirmed it."""
        await asyncio.sleep(_DELAYS[_dice(request_id) // _OF % len(_DELAYS)])
        while True:
            with suppress(*BROKER_ERRORS):
                channel = await self._open_channel()
                with self._books.history.sending(request_id, what):
                    await publish(channel, body, self._exchange, key, reply_to=reply_to, **properties)
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _open_channel(self) -> object:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed or self._channel_is_closed:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = await self._hosts.connect()
                self._channel = await (await self._connection.channel()).get_underlay_channel()
            return self._channel

    @property
    def _channel_is_closed(self) -> bool:
        return bool(getattr(self._channel, "is_closed", True))

    async def _look_once(self, connection: asyncpg.Connection) -> None:
        watched, begun = list(self._watched), monotonic()
        rows = {row["request_id"]: row for row in await connection.fetch(_STATUS, watched)}
        for request_id in watched:
            row = rows.get(request_id)
            seen = (row["status"], row["attempt"]) if row else (ABSENT, 0)
            if seen != self._last_seen.get(request_id) or seen[0] in law.FINISHED:
                self._books.history.look(request_id, seen[0], seen[1], begun)
                self._last_seen[request_id] = seen
            if seen[0] in law.FINISHED:
                self._watched[request_id] -= 1
                if not self._watched[request_id]:
                    del self._watched[request_id], self._last_seen[request_id]


def _dice(request_id: UUID) -> int:
    return request_id.int >> 64


@asynccontextmanager
async def other_clients(amqp_url: str, database_url: str, prefix: str, books: Books) -> AsyncIterator[Others]:
    """Yields other clients that are at work, with a queue of their own for replies."""
    others = Others(amqp_url, prefix, books)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(others.replies, durable=True, arguments={"x-queue-type": "quorum"})
    tasks = [
        asyncio.create_task(subscribe(amqp_url, others.replies, books)),
        asyncio.create_task(others.look(database_url)),
    ]
    try:
        yield others
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await others.close()
    for error in ended:
        if isinstance(error, Exception):
            raise error
