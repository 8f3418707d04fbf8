"""The stage of a chaos run: everything that can be broken, and what is known of each fault."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support.faults.disk import Disk
from support.faults.load import Books, Producers
from support.faults.processes import WorkerProcess
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.servers import Faulty, FaultyRabbit

RABBITMQ, POSTGRES, WORKERS = "RabbitMQ", "Postgres", "workers"


@dataclass
class Stage:
    """Everything that can be broken. `scene` leads by way of the proxies, the servers' own URLs do not."""

    rabbit: FaultyRabbit
    postgres: Faulty
    to_rabbit: Proxy
    to_postgres: Proxy
    scene: Scene
    workers: list[WorkerProcess]
    books: Books
    producers: Producers
    folder: Path
    disks: dict[str, Disk]  # of Postgres, and of a log; none where nothing can be mounted


class Kind(NamedTuple):
    """A way to break something: it ends with everything mended, and returns what shows that it happened."""

    do: Callable[[Stage, random.Random], Awaitable[str]]
    parts: frozenset[str]  # which nothing else may break meanwhile


def kind(do: Callable[[Stage, random.Random], Awaitable[str]], *parts: str) -> Kind:
    return Kind(do, frozenset(parts))


class Fault(NamedTuple):
    """One thing that was done, and what shows that it was."""

    at_seconds: float
    name: str
    proof: str
    in_flight: int
