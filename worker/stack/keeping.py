"""Keeps the data of a stack in a folder of the user's, from one start to the next."""

import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.stack.errors import StackError


class Kept:
    """The folder, while one stack holds it. `kept_in` makes one."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.lock = lock
        """The file that is locked. Whoever ends the servers holds it too, until they have ended."""

    def secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_hex(16)) -> str:
        """Return the secret of this name, which is made only once: the data knows it."""
        file = self.folder / name
        if not file.exists():
            new = file.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(make())
            new.rename(file)
        return file.read_text()


@contextmanager
def kept_in(folder: Path) -> Iterator[Kept]:
    """Make the folder, if need be, and hold it: two stacks at once would ruin the data."""
    folder = folder.absolute()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)  # Postgres may be another user, if we are root
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StackError(f"{folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"{folder} is in use by another `session-worker up`, or is still being left"
            ) from None
        yield Kept(folder, lock.fileno())
