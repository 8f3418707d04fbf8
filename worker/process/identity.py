"""Says who this worker is: it signs its leases, its dead letters and its sign of life with that."""

import getpass
import os
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple
from uuid import UUID, uuid4


class Identity(NamedTuple):
    worker: UUID
    host: str
    pid: int
    version: str

    @property
    def application(self) -> str:
        """The name of its connections in Postgres, which cuts a name after 63 bytes."""
        return f"session-worker {self.host[:40]}:{self.pid}"


def new_identity() -> Identity:
    """Make the identity of this start: a worker that comes back has no claim on what it held before."""
    return Identity(uuid4(), socket.gethostname(), os.getpid(), package_version())


def operator() -> str:
    """Return who uses this program: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def package_version() -> str:
    try:
        return version("session-worker")
    except PackageNotFoundError:
        return "0.0.0"
