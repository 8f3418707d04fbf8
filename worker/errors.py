"""What can go wrong, by name. What a handler raises is in `handlers`."""


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
    """Postgres refuses a statement, which is not tried again."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"refused by the database (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate

    @property
    def already_there(self) -> bool:
        """A row with this key exists."""
        return self.sqlstate == "23505"


class ValuesRefused(NotStorable):
    """The values of the statement are at fault: others may be stored."""


class NotOwner(WorkerError):
    """The role may not do this: it is for the owner of the tables."""

    def __init__(self, role: str, what: str) -> None:
        super().__init__(
            f"only the owner of the tables may {what}, so that no worker can, and {role} is not: set "
            "DATABASE_URL to the role that runs `session-worker migrate`"
        )


class LifespanFailed(WorkerError):
    """What a handler needs could not be opened, or did not stay open."""

    def __init__(self, handler: str, when: str, why: str) -> None:
        super().__init__(f"WORKER_HANDLER: the lifespan of {handler!r} failed {when}: {why}")


class RefusedQueue(WorkerError):
    """Answers may not go to this queue."""


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


class PostgresAway(OSError):
    """Postgres is not reached, or does not answer: an error of the network, which itself names no server."""
