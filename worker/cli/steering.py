"""What the commands have in common that hold work back: whom it is about, who did it, and who is told."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.lookup_database import LookupDatabase, open_database
from worker.cli.needed_settings import settings_for
from worker.cli.options import words
from worker.cli.record_tables import at
from worker.cli.tables import plain
from worker.monitoring import log
from worker.operations import steering
from worker.operations.steering import Worker
from worker.process.identity import operator
from worker.rules import NO_ORG, Pause, PauseScope, check_org


class Place(NamedTuple):
    """What is paused: everything, an organisation or a worker."""

    scope: PauseScope
    name: str
    where: str | None = None  # the worker's host and process

    def __str__(self) -> str:
        match self.scope:
            case "all":
                return "all requests"
            case "org":
                return f"the requests of {self.name}"
            case "worker":
                return f"the worker {self.where or self.name}"


class Steered(NamedTuple):
    """An installation that a command steers."""

    database: LookupDatabase
    workers: list[Worker]
    lease_seconds: float

    @property
    def live(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.lives]

    @property
    def in_force(self) -> str:
        live = len(self.live)
        if not live:
            return "no worker lives now: it holds for each that starts"
        return f"in force within a second on {counted(live, 'live worker')}"


@asynccontextmanager
async def steered(options: argparse.Namespace) -> AsyncIterator[Steered]:
    """Open the database, and look which workers there are."""
    settings = settings_for(database=True)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    database = await open_database(settings, options.wait)
    try:
        workers = await database.look(
            lambda: steering.workers(database, settings.lease_seconds), options.wait
        )
        yield Steered(database, workers, settings.lease_seconds)
    finally:
        await database.close()


def place_options(parser: argparse.ArgumentParser) -> None:
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--org", type=org, help="the requests of this organisation (their org_id)")
    whom.add_argument("--worker", metavar="ID|HOST:PID", help="this worker alone")


def by_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", type=words, default=operator(), help="who does it (default: you, user@host)")


def place_of(options: argparse.Namespace, there: Steered, *, may_be_gone: bool = False) -> Place:
    """Find out what the options name. `may_be_gone`: also a worker that lives no more."""
    if options.org is not None:
        return Place("org", options.org)
    if options.worker is None:
        return Place("all", NO_ORG)
    candidates = there.workers if may_be_gone else there.live
    found = [worker for worker in candidates if options.worker.lower() == str(worker.id)]
    found = found or [worker for worker in candidates if options.worker == worker.place]
    if len(found) > 1:
        found = [worker for worker in found if worker.lives]
    if len(found) == 1:
        return Place("worker", str(found[0].id), found[0].place)
    if may_be_gone and (unheard_of := _uuid(options.worker)):
        return Place("worker", str(unheard_of))
    trouble = "more than one worker" if found else "no live worker"
    live = "\n".join(f"  {worker.id}  {worker.place}" for worker in there.live) or "  none"
    raise CommandError(exits.FAILED, f"{trouble} is {options.worker}. Those that live:\n{live}")


def told(pause: Pause) -> str:
    """Say of a pause what people want to know."""
    until = f", until {at(pause.ends_at)}" if pause.ends_at else ""
    return f"by {pause.paused_by} since {at(pause.paused_at)}{until}: {pause.reason}"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def wait_now(place: Place, waiting: int) -> str:
    """Say how many wait, of all or of one organisation."""
    of_it = "" if place.scope == "all" else f" of {place.name}"
    if waiting == 0:
        return f"no request{of_it} waits now"
    more = " or more" if waiting >= steering.MOST_COUNTED else ""
    return (
        f"{waiting:,}{more} request{'s' if waiting > 1 else ''}{of_it} wait{'' if waiting > 1 else 's'} now"
    )


def say_lines(*lines: str) -> None:
    """Print sentences as they are, without anything that a terminal would obey."""
    for line in lines:
        print(plain(line).plain)


def org(text: str) -> str:
    """Read the id of an organisation."""
    try:
        check_org(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
