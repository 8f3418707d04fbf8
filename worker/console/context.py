"""Holds what an endpoint works with: the servers, the settings, who asks, and when."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from starlette.requests import Request

from worker.console.access import Right, Who
from worker.console.checkup import Checkup
from worker.console.doorkeeper import Doorkeeper
from worker.console.problems import lacks
from worker.console.servers import Servers
from worker.console.working import Works
from worker.operations.long_works import LongWorks
from worker.postgres.database import Database
from worker.rabbitmq.connection import Broker
from worker.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Environment:
    """The name of the installation's environment, as WORKER_ENVIRONMENT_NAME and _COLOR have it."""

    name: str
    color: str


@dataclass(frozen=True)
class Desk:
    """What an endpoint gets, made anew for each request: `desk_of(request)`."""

    settings: Settings
    servers: Servers
    works: Works
    """Works on selections in the background."""
    long_works: LongWorks
    """Does what else takes long."""
    checkup: Checkup
    """What the doctor has found lately."""
    doorkeeper: Doorkeeper
    arrived: datetime
    """When the request came, by the clock of this machine, as sessions have it."""
    now: datetime
    """What time it is by the clock of Postgres, as on record; by this machine's while that is away."""
    environment: Environment
    somebody: Who | None

    @property
    def database(self) -> Database:
        """Return the database, each call of which is tried once; raises a 503 while Postgres is away.

        An error of the driver in the middle of a call becomes the same 503.
        """
        return self.servers.database

    @property
    def broker(self) -> Broker:
        """Return the broker, to connect to; errors of connecting become a 503."""
        return self.servers.broker

    @property
    def who(self) -> Who:
        """Return who asks. Only the login page serves somebody it does not know."""
        assert self.somebody is not None, "the route needs a right"  # noqa: S101 — the app has looked
        return self.somebody

    def require(self, right: Right) -> None:
        """Raise a 403 that names the right unless whoever asks has it: for parts of a page, as payloads."""
        if not self.who.may(right):
            raise lacks(right)

    async def shared(self, name: str, seconds: float, look: Callable[[], Awaitable[T]]) -> T:
        """Return what `look` finds, for all viewers: nobody looks again within these seconds, and of several
        at once one does.
        """
        return await self.servers.shared(name, seconds, look)


def desk_of(request: Request) -> Desk:
    """Return the desk of a request."""
    return cast("Desk", request.state.desk)
