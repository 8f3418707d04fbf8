"""Sends each request on to the cell of its organisation.

    python router.py cells.json

It takes from the queue `front.requests`, and acknowledges a message there only once a broker has confirmed
the copy: that of the cell, or, where the cell is held or away, that of the queue `front.held`, from where it
comes back. So nothing is lost, whatever dies. A copy may go out twice, to one cell, which makes one session.
"""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError
from pamqp.common import FieldValue
from the_map import REREAD_SECONDS, Cell, read

AT_ONCE = 100
CONFIRM_SECONDS = 5.0
KNOWN = "select exists (select from {schema}.requests where request_id = $1::text::uuid)"
NOT_TAKEN = (AMQPError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
OURS = ("x-key", "x-delivery-count", "x-acquired-count")


class Router:
    """Takes from the front, on a channel of its broker."""

    def __init__(self, file: Path, channel: AbstractChannel) -> None:
        self._file = file
        self._map = read(file)
        self._front = channel
        self._held = f"{self._map.front.prefix}.held"
        self._ways: dict[str, AbstractChannel] = {}
        self._away: set[str] = set()

    async def run(self) -> None:
        """Route until this is cancelled."""
        await self._front.set_qos(AT_ONCE)
        queue = await declared(self._front, f"{self._map.front.prefix}.requests", self._held)
        await queue.consume(self.take)
        while True:
            await asyncio.sleep(REREAD_SECONDS)
            self._map = read(self._file)
            self._away.clear()
            await self._let_go()

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Send one on, or keep it at the front; then acknowledge it."""
        if not await self._sent(message):
            key = str(message.headers.get("x-key", message.routing_key))
            await publish(self._front, "", self._held, message, {"x-key": key})
        await message.ack()

    async def _sent(self, message: AbstractIncomingMessage) -> bool:
        cell = self._map.cells[self._map.otherwise]
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                cell = await self._cell_of(message)
                if cell.name in self._map.held or cell.name in self._away:
                    return False
                key = str(message.headers.get("x-key", message.routing_key))
                await publish(await self._way_to(cell), f"{cell.prefix}.requests", key, message)
        except NOT_TAKEN:
            self._away.add(cell.name)  # nobody waits for it again before the map is read anew
            return False
        return True

    async def _cell_of(self, message: AbstractIncomingMessage) -> Cell:
        """Return the cell that has this request on record, else the one in which the organisation is now.
        Only where it has moved does anybody have to ask.
        """
        org, request_id = about(message)
        *former, now = self._map.cells_of(org)
        for cell in former:
            if request_id and await knows(cell, request_id):
                return cell
        return now

    async def _way_to(self, cell: Cell) -> AbstractChannel:
        if cell.name not in self._ways or self._ways[cell.name].is_closed:
            connection = await aio_pika.connect(cell.amqp_url)
            self._ways[cell.name] = await connection.channel(on_return_raises=True)
        return self._ways[cell.name]

    async def _let_go(self) -> None:
        """Take up again what is held; not all of it at once, since it may have to wait longer."""
        queue = await self._front.get_queue(self._held, ensure=False)
        for _ in range(AT_ONCE):
            message = await queue.get(fail=False)
            if message is None:
                return
            await self.take(message)


def about(message: AbstractIncomingMessage) -> tuple[str | None, str | None]:
    """Say whose it is, and its id. What cannot be read goes to a cell as well, which knows what to answer. A
    cancellation names no organisation: its sender does, in the header `x-org-id`.
    """
    body: object = None
    with suppress(ValueError, RecursionError):
        body = json.loads(message.body)
    found = body if isinstance(body, dict) else {}
    org = found.get("org_id") or found.get("orgId") or message.headers.get("x-org-id")
    request_id = found.get("request_id") or found.get("requestId") or message.correlation_id
    return (str(org) if org else None), (str(request_id) if request_id else None)


async def knows(cell: Cell, request_id: str) -> bool:
    """Ask the record of a cell for an id. What is no id is on no record."""
    connection = await asyncpg.connect(cell.database_url)
    try:
        statement = KNOWN.format(schema=f'"{cell.schema}"')
        return bool(await connection.fetchval(statement, request_id))
    except asyncpg.InvalidTextRepresentationError:
        return False
    finally:
        await connection.close()


async def publish(
    channel: AbstractChannel,
    exchange: str,
    key: str,
    message: AbstractIncomingMessage,
    more: dict[str, str] | None = None,
) -> None:
    """Return when the broker has confirmed a copy, with all its properties, in a queue."""
    to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    headers = {name: value for name, value in message.headers.items() if name not in OURS}
    copy = aio_pika.Message(
        message.body, headers={**headers, **(more or {})}, content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT, correlation_id=message.correlation_id,
        reply_to=message.reply_to, expiration=message.expiration, message_id=message.message_id,
        timestamp=message.timestamp, type=message.type, app_id=message.app_id,
    )  # fmt: skip
    await to.publish(copy, key, mandatory=True)


async def declared(channel: AbstractChannel, requests: str, held: str) -> AbstractQueue:
    """Declare the front: an exchange as that of a cell, and its queues."""
    kind: dict[str, FieldValue] = {"x-queue-type": "quorum"}
    exchange = await channel.declare_exchange(requests, aio_pika.ExchangeType.DIRECT, durable=True)
    queue = await channel.declare_queue(requests, durable=True, arguments=kind)
    await channel.declare_queue(held, durable=True, arguments=kind)
    for key in ("create", "cancel"):
        await queue.bind(exchange, key)
    return queue


async def main(file: Path) -> None:
    connection = await aio_pika.connect(read(file).front.amqp_url)
    async with connection:
        routing = asyncio.create_task(Router(file, await connection.channel(on_return_raises=True)).run())
        lost = asyncio.ensure_future(connection.closed())
        await asyncio.wait((routing, lost), return_when=asyncio.FIRST_COMPLETED)
        if routing.done():
            routing.result()
    sys.exit("the front's broker is lost")  # whoever started this starts it again


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
