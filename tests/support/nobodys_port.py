"""A port on which nobody listens, and which nobody else gets meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nobodys_port() -> Iterator[int]:
    """Holds a port without listening: connections to it are refused while the context is open."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield int(nobody.getsockname()[1])
