"""Tries what a worker does with the broker, and changes nothing."""

import asyncio
from uuid import uuid4

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from worker.errors import TopologyError
from worker.rabbitmq.line import open_channel
from worker.rabbitmq.topology import REFUSED, Topology, declared_as_designed, one_channel


def version_of(connection: AbstractConnection) -> tuple[int, ...]:
    """Return the version of the broker, as it says at the beginning of a connection."""
    assert connection.transport is not None  # noqa: S101 — it is open
    told = str(connection.transport.connection.server_properties.get("version", ""))
    return tuple(int(part) for part in told.split(".") if part.isdigit())


async def publish(connection: AbstractConnection, seconds: float) -> None:
    """Publish a message that no queue gets through the default exchange. Raises one of the REFUSED, or
    TimeoutError when the broker does not confirm it in time; the connection is of no use then.
    """
    async with asyncio.timeout(seconds):
        channel = await open_channel(connection, confirms=True)
        await channel.basic_publish(b"", exchange="", routing_key=f"nobody.{uuid4()}", mandatory=False)
        await channel.close()


async def refusals(connection: AbstractConnection, topology: Topology) -> list[str]:
    """Return in the broker's words what this user may not do with the exchanges and queues. What is declared
    is there already, and what is unbound is not: nothing is changed. The key is nobody's.
    """
    found = []
    for thing in topology.declared:
        try:
            await declared_as_designed(connection, thing)
        except TopologyError:
            pass  # it is missing, or another one: not for want of a right
        except REFUSED as error:
            found.append(in_words(error))
    for queue in topology.queues:
        try:
            async with one_channel(connection) as channel:
                await channel.queue_unbind(queue.name, queue.name, f"nobody.{uuid4()}")
        except ChannelNotFoundEntity:
            pass
        except REFUSED as error:
            found.append(in_words(error))
    return list(dict.fromkeys(found))


def in_words(error: Exception) -> str:
    return str(error.args[0] if error.args else error).removeprefix("ACCESS_REFUSED - ")
