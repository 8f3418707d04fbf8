"""Freezes the requests that somebody means in a selection, for pages and for programs."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from worker.console.context import Desk
from worker.console.problems import bad, conflict
from worker.errors import RefusedQueue
from worker.operations import selections
from worker.operations.acting import require_way_back
from worker.operations.filters import Filter
from worker.operations.listing import GoneError
from worker.operations.selections import Action, Selection, TooManyChosen
from worker.rabbitmq.topology import names_for
from worker.steps.limits import limits_of


class Meant(NamedTuple):
    """The requests that are meant: those with these ids, or all that match."""

    ids: Sequence[UUID]
    wanted: Filter

    @property
    def named(self) -> dict[str, Any]:
        """Return how they were chosen, for the record."""
        if self.ids:
            return {"ids": self.ids}
        return {name: value for name, value in self.wanted._asdict().items() if value is not None}


async def frozen(
    desk: Desk,
    does: Action,
    meant: Meant,
    *,
    options: Mapping[str, Any],
    rate: float,
    reason: str,
    key: str | None = None,
) -> Selection:
    """Freeze them; the same key is the same selection. Raises a problem where nothing was frozen."""
    if "to" in options:
        names, replies = names_for(desk.settings.prefix), limits_of(desk.settings).replies
        with refused_queue():
            require_way_back(options["to"], names, replies)
    await selections.drop_forgotten(desk.database)
    try:
        selection = await selections.freeze(
            desk.database, does,
            _these(meant.ids) if meant.ids else selections.matching(desk.database, meant.wanted),
            chosen_by=meant.named, options=options, who=desk.who.signature, reason=reason, rate=rate,
            selection_id=key,
        )  # fmt: skip
    except GoneError:
        raise conflict(
            "Requests were deleted as old while they were looked for. Nothing was done: try it again."
        ) from None
    except TooManyChosen as error:
        raise bad(f"{error}.".capitalize()) from None
    if not selection.chosen:
        await selections.drop(desk.database, selection.id)
        raise conflict("No request matches any more. Nothing was done.")
    return selection


@contextmanager
def refused_queue() -> Iterator[None]:
    """Make a 400 of the error for a queue that answers may not go to."""
    try:
        yield
    except RefusedQueue as error:
        raise bad(f"to: {error}. Nothing was done.") from None


async def _these(ids: Sequence[UUID]) -> AsyncIterator[Sequence[UUID]]:
    yield ids
