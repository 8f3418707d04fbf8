"""A batch that Postgres refuses is halved until the one at fault is alone."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from worker.errors import NotStorable

T = TypeVar("T")
S = TypeVar("S")


async def in_halves(
    items: Sequence[T],
    store: Callable[[Sequence[T]], Awaitable[dict[UUID, S]]],
    instead: Callable[[T, NotStorable], T | None],
) -> dict[UUID, S]:
    """Store these together, or else in halves. `instead` returns what is stored in place of the one at fault;
    if that is None the error goes on.
    """
    try:
        return await store(items)
    except NotStorable as error:
        if len(items) > 1:
            middle = len(items) // 2
            first = await in_halves(items[:middle], store, instead)
            return first | await in_halves(items[middle:], store, instead)
        replacement = instead(items[0], error)
        if replacement is None:
            raise
        return await in_halves([replacement], store, instead)
