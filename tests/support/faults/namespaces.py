"""A network of the kernel's own: each machine in it is a namespace, and between them packets can be dropped.

In the middle is a namespace that only forwards. A rule of its routing drops what one machine sends to
another, in that direction alone, and tells neither; unlike a filter it needs no module of the kernel. All
of it is in a user namespace, so it needs no root where the kernel lets everybody have one. From outside,
a machine is reached through a gate at the loopback.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import IO, Final

from worker.stack import Sandbox, StackError
from worker.stack.ports import LOOPBACK
from worker.stack.probes import until
from worker.stack.program import User

_GATE: Final = Path(__file__).with_name("gate.py")
_MIDDLE: Final = "192.0.2.254"  # of a network that is kept for examples
_MACHINES: Final = "192.0.2.0/24"
_TRIAL: Final = "ip link add one type veth peer name two && ip rule add from 192.0.2.1 blackhole"
_FORWARD: Final = "echo 1 > /proc/sys/net/ipv4/ip_forward && exec sleep infinity"
_BE: Final = 'hostname "$1" && mount --bind "$2" /etc/hosts && exec sleep infinity'
_SECONDS: Final = 20.0
_NEW: Final = ("unshare", "--net", "--uts", "--mount")
_FOR_ANYBODY: Final = (*_NEW, "--user", "--map-root-user")


class Machine(Sandbox):
    """Starts its programs in namespaces that it keeps until the sandbox ends."""

    def __init__(self, sandbox: Sandbox, address: str, holder: int, root: Path | None = None) -> None:
        """`root`: the folder that is / to its programs."""
        super().__init__(sandbox.path, sandbox._reaper_input)
        self._ports = sandbox._ports
        self.address = address
        self.holder = holder
        self._enter = (
            *(
                "nsenter",
                f"--target={holder}",
                "--user",
                "--preserve-credentials",
                "--net",
                "--uts",
                "--mount",
            ),
            f"--wd={sandbox.path}",
        )
        self._within = ("chroot", str(root)) if root else ()

    async def with_files(self, root: Path) -> "Machine":
        """Return this machine for programs to which that folder is /, with what they need of ours."""
        inside = root / self.path.relative_to("/")
        inside.mkdir(parents=True, exist_ok=True)
        for path in ("/proc", "/dev", "/etc/hosts"):
            await self.do("mount", "--rbind", path, f"{root}{path}")
        await self.do("mount", "--bind", str(self.path), str(inside))
        return Machine(self, self.address, self.holder, root)

    async def do(self, *words: str) -> str:
        return await self.run(*words, env=os.environ)

    async def open_gate(self, ways: Mapping[int, int]) -> None:
        """Lead from these ports of our loopback to these of the machine's."""
        listening = {socket.create_server((LOOPBACK, outside)): inside for outside, inside in ways.items()}
        process = await asyncio.create_subprocess_exec(
            *self._enter, sys.executable, str(_GATE),
            *(f"{each.fileno()}:{inside}" for each, inside in listening.items()),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=[each.fileno() for each in listening],
        )  # fmt: skip
        await self._tell_reaper({"end": process.pid, "by": int(SIGKILL)})
        for each in listening:
            each.close()  # the gate has it

    async def _spawn(
        self, command: Sequence[str], env: Mapping[str, str], output: IO[bytes], user: User | None
    ) -> asyncio.subprocess.Process:
        return await super()._spawn((*self._enter, *self._within, *command), env, output, user)


class Network:
    """Machines that reach each other, until it drops what they send."""

    def __init__(self, middle: Machine, machines: Mapping[str, Machine]) -> None:
        self._middle = middle
        self.machines = machines

    async def drop(self, sender: str, receiver: str) -> None:
        await self._rule("add", sender, receiver)

    async def let_through(self, sender: str, receiver: str) -> None:
        await self._rule("del", sender, receiver)

    async def dropped(self) -> int:
        """Return how many packets were dropped: all that came and were not forwarded."""
        lines = (await self._middle.do("cat", "/proc/net/snmp")).splitlines()
        names, values = (line.split()[1:] for line in lines if line.startswith("Ip:"))
        counted = dict(zip(names, map(int, values), strict=True))
        return counted["InReceives"] - counted["ForwDatagrams"]

    async def _rule(self, change: str, sender: str, receiver: str) -> None:
        addresses = self.machines[sender].address, self.machines[receiver].address
        await self._middle.do("ip", "rule", change, "from", addresses[0], "to", addresses[1], "blackhole")


async def can_be_had() -> bool:
    """Tell whether the kernel, and the programs of this machine, make such a network for this user."""
    try:
        trial = await asyncio.create_subprocess_exec(
            *_FOR_ANYBODY, "sh", "-c", _TRIAL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        return False
    return await trial.wait() == 0


async def join(sandbox: Sandbox, names: Sequence[str]) -> Network:
    """Make a network of machines with these names, which they know each other by."""
    addresses = {name: f"192.0.2.{number}" for number, name in enumerate(names, 1)}
    hosts = sandbox.path / "hosts"
    known = {"localhost": LOOPBACK, **addresses}
    hosts.write_text("".join(f"{address} {name}\n" for name, address in known.items()), "ascii")
    middle = await _machine(sandbox, _MIDDLE, *_FOR_ANYBODY, "sh", "-c", _FORWARD)
    machines = {
        name: await _machine(middle, address, *_NEW, "sh", "-c", _BE, "sh", name, str(hosts))
        for name, address in addresses.items()
    }
    for name, machine in machines.items():
        port, end = f"to-{name}", machine.do
        link = ("type", "veth", "peer", "name", "eth0", "netns", str(machine.holder))
        await middle.do("ip", "link", "add", port, *link)
        await middle.do("ip", "address", "add", _MIDDLE, "peer", machine.address, "dev", port)
        await middle.do("ip", "link", "set", port, "up")
        await end("ip", "link", "set", "lo", "up")
        await end("ip", "address", "add", machine.address, "peer", _MIDDLE, "dev", "eth0")
        await end("ip", "link", "set", "eth0", "up")
        await end("ip", "route", "add", _MACHINES, "via", _MIDDLE)
    return Network(middle, machines)


async def _machine(within: Sandbox, address: str, *words: str) -> Machine:
    """Start a program that makes namespaces and stays in them; return once it is in them."""
    holder = await within.start(
        *words, env=os.environ, log=within.path / f"{address}.log", user=None, end_by=SIGKILL
    )

    name = Path(f"/proc/{holder.pid}/comm")

    async def is_in() -> bool:
        return name.read_text("ascii").strip() == "sleep"  # noqa: ASYNC240 — the kernel has it at hand

    if not await until(is_in, lambda: holder.running, _SECONDS):
        raise StackError(f"no namespaces for {address}:\n{holder.end_of_log()}")
    return Machine(within, address, holder.pid)
