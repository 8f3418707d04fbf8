"""Reads the processor time that the four parts of a measurement use: contender, RabbitMQ, Postgres, load."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil


class Cost(NamedTuple):
    """Processor seconds used so far. `load`: by this program, which publishes and listens. `machine`: by all
    there is, the kernel's own work too, which is on nobody's account.
    """

    process: float
    broker: float
    postgres: float
    load: float
    machine: float

    def since(self, before: "Cost") -> "Cost":
        return Cost(*(now - then for now, then in zip(self, before, strict=True)))

    def over(self, requests: int) -> "Cost":
        """Return how many microseconds of it are a request's."""
        return Cost(*(one / requests * 1e6 for one in self))


class Meter:
    """Knows the processes of the servers in use: others of the same name may run on this machine."""

    def __init__(self, amqp_url: str, database_url: str) -> None:
        self._broker = _serving(amqp_url, 5672, "beam")
        self._postgres = _serving(database_url, 5432, "postgres")

    def cost(self, process: psutil.Process) -> Cost:
        """Return the cost of a process with its children, of the servers, and of this program."""
        return Cost(
            used_by([process]),
            self.broker_seconds(),
            used_by(self._postgres),
            time.process_time(),
            _used_by_all(),
        )

    def broker_seconds(self) -> float:
        return used_by(self._broker)


def used_by(processes: Iterable[psutil.Process]) -> float:
    """Return the processor seconds of these and of their children, also of those that have ended."""
    all_of_them: set[psutil.Process] = set()
    for one in processes:
        with suppress(psutil.Error):
            all_of_them |= {one, *one.children(recursive=True)}
    total = 0.0
    for one in all_of_them:
        with suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _used_by_all() -> float:
    times = psutil.cpu_times()
    idle = ("idle", "iowait", "steal", "guest", "guest_nice")  # guests are in `user` already
    return float(sum(seconds for name, seconds in times._asdict().items() if name not in idle))


def _serving(url: str, usual_port: int, name: str) -> list[psutil.Process]:
    """Find the processes of this name that serve this address. Those in a container are not seen to listen:
    then they are the ones with a network of their own, or else all of this name.
    """
    port = urlsplit(url).port or usual_port
    listening: set[int | None] = set()
    with suppress(psutil.AccessDenied):
        listening = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
        }
    named = [one for one in psutil.process_iter(["name"]) if name in (one.info["name"] or "")]
    here = _network(os.getpid())
    return (
        [one for one in named if one.pid in listening]
        or [one for one in named if _network(one.pid) != here]
        or named
    )


def _network(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:  # it has ended, or this system has none
        return None
