"""Runs RabbitMQ nodes of our own, from the programs of this machine.

Nodes that are to form a cluster share one `Family`: the cookie, the accounts and the
name service (epmd). A node alone has a family of one.
"""

import asyncio
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL, SIGTERM
from types import MappingProxyType
from typing import Self

from worker.stack.errors import StackError
from worker.stack.keeping import Kept
from worker.stack.ports import LOOPBACK
from worker.stack.probes import rabbitmq_answers, until
from worker.stack.program import Program
from worker.stack.sandbox import Sandbox, clean_environment
from worker.stack.server import Server

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_EPMD_SECONDS = 10.0

PLUGINS = ("rabbitmq_management", "rabbitmq_consistent_hash_exchange")  # the second one is for shards

# Not the commands in /usr/sbin: Debian's change the user and the home folder.
_PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/usr/lib64/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)


def find_programs() -> Path | None:
    """The folder with rabbitmq-server and rabbitmqctl, if RabbitMQ is installed."""
    for place in map(Path, _PLACES):
        if (place / "rabbitmq-server").exists() and shutil.which("erl"):
            return place
    return None


class Family:
    """Holds what the nodes of one cluster share."""

    def __init__(self, sandbox: Sandbox, environ: Mapping[str, str], kept: Kept | None = None) -> None:
        self.sandbox = sandbox
        self.kept = kept
        self.home = sandbox.path / f"rabbitmq-{secrets.token_hex(4)}"
        self.user = "worker"
        self.password = kept.secret("rabbitmq.password") if kept else secrets.token_hex(16)
        self._port = sandbox.reserve()
        self._epmd: Program | None = None
        self._starting = asyncio.Lock()
        self.env = clean_environment(environ, "RABBITMQ_", "ERL_", "NOTIFY_SOCKET") | {
            "HOME": str(self.home),  # the cookie's place
            "ERL_EPMD_PORT": str(self._port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            # Erlang would leave an epmd of its own behind where it finds none.
            "ERL_FLAGS": "-start_epmd false",
        }

    async def start(self) -> None:
        """Start the name service, once, also when several nodes start at the same time."""
        async with self._starting:
            if self._epmd is None:
                self._epmd = await self._start_epmd()

    def programs(self) -> Path:
        """Return the folder with RabbitMQ's programs."""
        if (programs := find_programs()) is None:
            raise StackError("RabbitMQ is not installed on this machine")
        return programs

    def epmd(self) -> str:
        """Return the program of the name service."""
        if (epmd := shutil.which("epmd", path=self.env.get("PATH"))) is None:
            raise StackError("Erlang's epmd is not on the PATH; is Erlang installed whole?")
        return epmd

    async def _start_epmd(self) -> Program:
        epmd = self.epmd()
        self.home.mkdir(mode=0o700)
        cookie = self.home / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        service = await self.sandbox.start(
            epmd, env=self.env, log=self.home / "epmd.log", user=None, end_by=SIGKILL
        )
        if not await until(self._epmd_answers, lambda: service.running, _EPMD_SECONDS):
            raise StackError(f"Erlang's epmd did not start:\n{service.end_of_log()}")
        return service

    async def _epmd_answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        writer.transport.abort()
        return True


class RabbitNode(Server):
    """One node with its own data and ports."""

    def __init__(
        self,
        family: Family,
        name: str = "rabbit",
        settings: Mapping[str, str] = MappingProxyType({}),
        flags: str = "",
    ) -> None:
        """`settings`: lines of rabbitmq.conf, and `flags`: of Erlang, beside those that every node gets."""
        ports = (family.sandbox.reserve() for _ in range(3))
        port, self._management, self._distribution = ports
        super().__init__("RabbitMQ", port, stop_by=SIGTERM, stop_seconds=_STOP_SECONDS)
        self._family = family
        self._settings = settings
        self._flags = flags
        self.name = f"{name}@localhost"
        self._home = family.home / name
        self._data = family.kept.folder / "rabbitmq" if family.kept else self._home / "data"
        self._log = self._home / "log"
        self._programs = family.programs()

    @classmethod
    def alone(
        cls,
        sandbox: Sandbox,
        environ: Mapping[str, str],
        settings: Mapping[str, str] = MappingProxyType({}),
        flags: str = "",
        kept: Kept | None = None,
    ) -> Self:
        return cls(Family(sandbox, environ, kept), settings=settings, flags=flags)

    @property
    def url(self) -> str:
        return f"amqp://{self._family.user}:{self._family.password}@{LOOPBACK}:{self.port}/%2F"

    @property
    def management_url(self) -> str:
        where = f"{LOOPBACK}:{self._management}"
        return f"http://{self._family.user}:{self._family.password}@{where}"

    async def start(self) -> None:
        """Start the node, on its old data and ports after a stop or a kill."""
        await self._family.start()
        if not self._home.exists():
            self._write_configuration()
        server = str(self._programs / "rabbitmq-server")
        end_by = SIGTERM if self._family.kept else SIGKILL  # what is not kept need not be put in order
        program = await self._family.sandbox.start(
            server, env=self._env(), log=self._log, user=None, end_by=end_by
        )
        await self._until_ready(
            program, rabbitmq_answers, _START_SECONDS, "set AMQP_URL to a broker that runs"
        )

    async def ctl(self, *words: str, limit: float = 60) -> str:
        """Call `rabbitmqctl` with these words about this node; return what it prints."""
        return await self._tool("rabbitmqctl", *words, limit=limit)

    async def diagnostics(self, *words: str, limit: float = 60) -> str:
        return await self._tool("rabbitmq-diagnostics", *words, limit=limit)

    async def _tool(self, tool: str, *words: str, limit: float) -> str:
        command, env = self.tool(tool)
        return await self._family.sandbox.run(*command, "-q", *words, env=env, limit=limit)

    def tool(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Return how a tool of RabbitMQ is called about this node: its first words, and the variables."""
        return [str(self._programs / name), "-n", self.name], self._env()

    def _write_configuration(self) -> None:
        self._home.mkdir(mode=0o700)
        (self._home / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        settings = {
            "listeners.tcp.1": f"{LOOPBACK}:{self.port}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": str(self._management),
            "default_user": self._family.user,
            "default_pass": self._family.password,
            **self._settings,
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        configuration = self._home / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("".join(lines))

    def _env(self) -> dict[str, str]:
        home = self._home
        return self._family.env | {
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(home / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(home / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            # Idle schedulers sleep instead of spinning, and nothing listens beyond loopback.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none "
            f"-kernel inet_dist_use_interface {{127,0,0,1}} {self._flags}",
            # The start script would stay as a parent that passes signals on; with this it
            # becomes the server, so there is one process to end, freeze and kill.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
