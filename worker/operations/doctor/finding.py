"""What a check is, and what it finds."""

from collections.abc import Awaitable, Callable
from enum import Enum, StrEnum
from typing import NamedTuple

from worker.operations.doctor.site import Need, Site

MOST_COUNTED = 10_000  # rows, where more of them would say no more


class Severity(Enum):
    """How bad it is. The worst one stands first."""

    ERROR = "error"  # something does not work, or will not soon
    WARNING = "warning"  # somebody should look at it today
    NOTE = "note"  # worth knowing

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Part(StrEnum):
    """A part of an installation, which `--only` can choose."""

    POSTGRES = "postgres"
    REQUESTS = "requests"
    RABBITMQ = "rabbitmq"
    WORKERS = "workers"
    SETTINGS = "settings"
    KEYS = "keys"


class Finding(NamedTuple):
    """Something that is wrong: a sentence with numbers, and a command or a sentence that ends it."""

    check: str
    severity: Severity
    what: str
    remedy: str


class CannotLook(Exception):
    """Raised by a check that cannot be done here, for a reason that is no fault; says why."""


Look = Callable[[Site], Awaitable[list[Finding]]]


class Check(NamedTuple):
    """Looks for one kind of fault."""

    id: str
    part: Part
    worst: Severity  # no finding of it is worse
    finds: str  # for people, in the table of docs/operating.md
    needs: frozenset[Need]
    look: Look
