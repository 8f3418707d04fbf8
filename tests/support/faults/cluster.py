"""Three RabbitMQ nodes that are one cluster, and what to ask them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from support.harness import eventually
from support.servers import ONE_SCHEDULER, server_sandbox

from worker.stack import Family, RabbitNode
from worker.stack.install import ensure_rabbitmq

NAMES = ("one", "two", "three")


class Cluster:
    def __init__(self, nodes: Sequence[RabbitNode]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Returns one URL that names all of the hosts."""
        parts = [urlsplit(node.url) for node in self.nodes]
        account = f"{parts[0].username}:{parts[0].password}"
        return f"amqp://{account}@{','.join(f'127.0.0.1:{part.port}' for part in parts)}/%2F"

    async def queues(self, asked: RabbitNode) -> dict[str, dict[str, Any]]:
        """Returns what this node says of each queue."""
        columns = ("name", "leader", "members", "online", "messages")
        said = await asked.ctl("list_queues", *columns, "--formatter", "json")
        return {queue["name"]: queue for queue in json.loads(said)}

    async def leader(self, queue: str, asked: RabbitNode) -> RabbitNode:
        """Waits until there is one: none is told while one is elected, or is slow to answer."""

        async def look() -> RabbitNode | None:
            name = (await self.queues(asked))[queue]["leader"]
            return next((node for node in self.nodes if node.name == name), None)

        return await eventually(look)

    async def all_online(self) -> bool:
        queues = await self.queues(self.nodes[0])
        return all(len(queue["online"]) == len(self.nodes) for queue in queues.values())


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    await ensure_rabbitmq(print, os.environ)
    async with server_sandbox() as sandbox:
        family = Family(sandbox, os.environ)
        settings = finding(f"{name}@localhost" for name in NAMES)
        yield await formed([RabbitNode(family, name, settings, ONE_SCHEDULER) for name in NAMES])


def finding(names: Iterable[str]) -> dict[str, str]:
    """Returns the settings by which nodes with these names find each other when they first start."""
    known = {f"cluster_formation.classic_config.nodes.{place}": name for place, name in enumerate(names, 1)}
    return {"cluster_formation.peer_discovery_backend": "classic_config", **known}


async def formed(nodes: Sequence[RabbitNode]) -> Cluster:
    """Starts nodes that find each other."""
    await asyncio.gather(*(node.start() for node in nodes))
    status = await nodes[0].ctl("cluster_status", "--formatter", "json")
    assert sorted(json.loads(status)["running_nodes"]) == sorted(node.name for node in nodes)
    return Cluster(nodes)
