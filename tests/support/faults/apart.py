"""Cuts the nodes of a RabbitMQ cluster off from each other; clients reach all of them meanwhile.

Packets between them are dropped where the kernel makes network namespaces for this user, as when a switch
fails: nobody is told. Elsewhere the nodes refuse each other: they notice at once, and a cut goes both ways.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from support.faults.cluster import NAMES, Cluster, finding, formed
from support.faults.namespaces import Machine, Network, can_be_had, join
from support.faults.unpacked import unpack
from support.servers import ONE_SCHEDULER, fault_way, server_sandbox

from worker.stack import Family, RabbitNode, Sandbox
from worker.stack.docker import RABBITMQ_IMAGE
from worker.stack.install import ensure_rabbitmq
from worker.stack.program import Program

Ways = Sequence[tuple[RabbitNode, RabbitNode]]
_EPMD: Final = 4369


class Links(Protocol):
    """What connects the nodes."""

    one_way: bool
    """Whether it can be cut in one direction alone."""

    async def cut(self, ways: Ways) -> None:
        """Let nothing through from the first node of each pair to the second."""

    async def heal(self) -> None:
        """Let everything through again."""


class DroppingLinks:
    """Drops packets, and tells nobody."""

    one_way = True

    def __init__(self, network: Network) -> None:
        self._network = network
        self._cut: list[tuple[str, str]] = []
        self._dropped = 0

    async def cut(self, ways: Ways) -> None:
        self._dropped = await self._network.dropped()
        for sender, receiver in ways:
            pair = _host(sender), _host(receiver)
            await self._network.drop(*pair)
            self._cut.append(pair)

    async def heal(self) -> None:
        assert await self._network.dropped() > self._dropped, "nothing was on its way: the cut cut nothing"
        while self._cut:
            await self._network.let_through(*self._cut.pop())


class RefusingLinks:
    """Closes the connections between nodes, and has them refuse each other: one believes that the other has
    another cookie, and which one is known to neither.
    """

    one_way = False

    def __init__(self) -> None:
        self._refusing: dict[RabbitNode, list[RabbitNode]] = {}

    async def cut(self, ways: Ways) -> None:
        refusing: dict[RabbitNode, list[RabbitNode]] = {}
        for one, other in ways:
            if one not in refusing.get(other, ()):  # it is enough that one of the two refuses
                refusing.setdefault(one, []).append(other)
        for one, others in refusing.items():  # of one node all at once: it is cut off, or it is not
            cookie = f"cut_{secrets.token_hex(8)}"
            gone = f"[{{erlang:set_cookie(N, {cookie}), erlang:disconnect_node(N)}} || N <- {_list(others)}]."
            await one.ctl("eval", gone)
            self._refusing.setdefault(one, []).extend(others)

    async def heal(self) -> None:
        for one, others in self._refusing.items():
            await one.ctl("eval", f"[erlang:set_cookie(N, erlang:get_cookie()) || N <- {_list(others)}].")
        self._refusing.clear()


def _list(nodes: Sequence[RabbitNode]) -> str:
    return f"[{','.join(repr(node.name) for node in nodes)}]"


def _name(host: str) -> str:
    return f"rabbit@{host}"


def _host(node: RabbitNode) -> str:
    return node.name.partition("@")[2]


class _FamilyOnMachine(Family):
    """Holds what one node shares with those on other machines: the cookie and the account."""

    def __init__(self, machine: Machine, environ: Mapping[str, str], password: str, cookie: str) -> None:
        super().__init__(machine, environ)
        self.machine = machine
        self.password = password
        self._cookie = cookie
        self.env |= {"ERL_EPMD_PORT": str(_EPMD), "ERL_EPMD_ADDRESS": machine.address}

    async def _start_epmd(self) -> Program:
        await self.machine.open_gate({self._port: _EPMD})
        service = await super()._start_epmd()
        cookie = self.home / ".erlang.cookie"
        cookie.chmod(0o600)
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        return service


class _FamilyOfImage(_FamilyOnMachine):
    """Runs what an image has: / is its root."""

    def programs(self) -> Path:
        return Path("/opt/rabbitmq/sbin")

    def epmd(self) -> str:
        return "epmd"


class NodeOnMachine(RabbitNode):
    def __init__(self, family: _FamilyOnMachine, host: str, settings: Mapping[str, str]) -> None:
        super().__init__(family, host, settings, ONE_SCHEDULER)
        self.name = _name(host)
        self._machine = family.machine

    async def open_gate(self) -> None:
        await self._machine.open_gate({self.port: self.port})

    def _write_configuration(self) -> None:
        super()._write_configuration()
        if not isinstance(self._family, _FamilyOfImage):
            # The management plugin of 3.10 may keep a node paused: it stumbles over a connection from before.
            (self._home / "plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")

    def _env(self) -> dict[str, str]:
        env = super()._env()
        words = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
        others = "{" + self._machine.address.replace(".", ",") + "}"
        return env | {words: env[words].replace("{127,0,0,1}", others)}


@asynccontextmanager
async def cluster_to_cut(settings: Mapping[str, str]) -> AsyncIterator[tuple[Cluster, Links]]:
    """Yields a cluster whose nodes have these settings, and the links between them."""
    async with server_sandbox() as sandbox:
        if await can_be_had():
            network = await join(sandbox, NAMES)
            settings = {**settings, **finding(map(_name, NAMES))}
            families = await _families(sandbox, network)
            nodes = [NodeOnMachine(family, name, settings) for name, family in families.items()]
            await asyncio.gather(*(node.open_gate() for node in nodes))
            yield await formed(nodes), DroppingLinks(network)
        else:
            await ensure_rabbitmq(print, os.environ)
            family = Family(sandbox, os.environ)
            settings = {**settings, **finding(f"{name}@localhost" for name in NAMES)}
            alike = [RabbitNode(family, name, settings, ONE_SCHEDULER) for name in NAMES]
            yield await formed(alike), RefusingLinks()


async def _families(sandbox: Sandbox, network: Network) -> Mapping[str, _FamilyOnMachine]:
    """Returns what runs a node on each machine: the programs of the image, where tests run on containers."""
    shared = secrets.token_hex(16), secrets.token_hex(16)
    if await fault_way() == "containers":
        image = await unpack(sandbox, RABBITMQ_IMAGE)
        return {
            name: _FamilyOfImage(await machine.with_files(image.root), image.environ, *shared)
            for name, machine in network.machines.items()
        }
    await ensure_rabbitmq(print, os.environ)
    return {
        name: _FamilyOnMachine(machine, os.environ, *shared) for name, machine in network.machines.items()
    }
