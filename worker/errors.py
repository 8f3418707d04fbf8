"""What can go wrong, by name. `Rejected` and `RetryLater` are for handlers to raise."""

from datetime import timedelta


class WorkerError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(WorkerError):
    """A setting is missing or wrong; one line for each, beginning with its variable."""


class TopologyError(WorkerError):
    """A queue or exchange is missing, or is not what this worker needs."""


class MigrationError(WorkerError):
    """The database's schema is not what this worker needs."""


class SealError(WorkerError):
    """A secret cannot be sealed or opened with the keys at hand."""


class NotStorable(WorkerError):
    """Postgres refuses what it was given, and would again."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"refused by the database (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate

    @property
    def already_there(self) -> bool:
        """A row with this key exists."""
        return self.sqlstate == "23505"


class LeaseLost(WorkerError):
    """Another worker has taken this batch over. What is not recorded yet comes again from the broker."""

    def __init__(self) -> None:
        super().__init__("the lease of this batch was taken over by another worker")


class KilledItsReader(WorkerError):
    """The process that read a message or a stored request died over it, each time."""

    def __init__(self) -> None:
        super().__init__("reading it ended the process that read it")


class ReaderUnavailable(WorkerError):
    """The process that reads could not be started: the message it was for is not to blame."""


class PublishInterrupted(WorkerError):
    """The broker did not say what became of a publish: the connection was lost, or it took too long."""


class Rejected(WorkerError):
    """Raised by a handler: this request will never succeed. The reason reaches the requester."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = _readable(reason)


class RetryLater(WorkerError):
    """Raised by a handler: try this request again, after `after` or after a growing delay."""

    def __init__(self, after: timedelta | float | None = None, reason: object = "") -> None:
        super().__init__(reason)
        if not isinstance(after, timedelta | int | float | None):
            raise TypeError(f"after: {after!r} is neither a timedelta nor a number of seconds")
        self.after = timedelta(seconds=after) if isinstance(after, int | float) else after
        self.reason = _readable(reason)


def _readable(reason: object) -> str:
    """As it can be sent: a file's name, for one, may hold halves of surrogate pairs."""
    return str(reason).encode("utf-8", "replace").decode()
