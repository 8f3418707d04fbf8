"""A batch that Postgres refuses is halved until the one at fault is alone, and that ends."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from schemas import FailureCode
from worker.errors import NotStorable
from worker.steps import accepting, finishing
from worker.steps.halving import in_halves
from worker.steps.verdicts import completed
from worker.values import Arrival, Completed, Failed, Requested, Route, Waiting, Work

NOBODY = Route(None, None, None)
EMPTY = Requested(
    name=None, status=None, casefile_id=None, assistant_id=None, phone_number_id=None,
    expiration_seconds=None, timestamp=None, ignores_assistant=False, given=b"",
)  # fmt: skip


class Table:
    """Refuses some numbers, and a batch that has one of them."""

    def __init__(self, *refused: int) -> None:
        self.refused = set(refused)
        self.asked: list[list[int]] = []

    async def store(self, items: Sequence[int]) -> dict[UUID, int]:
        self.asked.append(list(items))
        if self.refused & set(items):
            raise NotStorable("22P05")
        return {UUID(int=abs(one)): one for one in items}


def negative(one: int, _error: NotStorable) -> int | None:
    return -one if one > 0 else None


async def test_only_the_one_at_fault_is_replaced() -> None:
    table = Table(5)

    stored = await in_halves(range(1, 9), table.store, negative)

    assert sorted(stored.values()) == [-5, 1, 2, 3, 4, 6, 7, 8]
    assert table.asked == [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [5, 6],
        [5],
        [-5],
        [6],
        [7, 8],
    ]


async def test_what_is_refused_in_its_place_too_is_an_error() -> None:
    with pytest.raises(NotStorable):
        await in_halves([1], Table(1, -1).store, negative)


def arrival(**given: object) -> Arrival:
    made = Arrival(
        request_id=UUID(int=1), fingerprint=b"f", session_id="ts_1", route=NOBODY, org_id="o", user_id="u",
        body="{}", document="{}", request=EMPTY, deadline_at=datetime.now(UTC), not_before=datetime.now(UTC),
    )  # fmt: skip
    return made._replace(**given)  # type: ignore[arg-type]  # the fields of a test


def test_a_request_that_is_refused_is_recorded_by_its_id_alone_and_once() -> None:
    instead = accepting._refused_by_postgres(arrival(), NotStorable("22P05"))

    assert instead is not None
    assert instead.refusal is not None
    assert instead.refusal.code is FailureCode.INVALID_REQUEST
    assert instead._replace(refusal=None) == Arrival(
        request_id=UUID(int=1), fingerprint=b"f", session_id="ts_1", route=NOBODY
    )
    assert accepting._refused_by_postgres(instead, NotStorable("22P05")) is None
    assert accepting._waiting_refused_by_postgres(Waiting(instead, "paused"), NotStorable("22P05")) is None
    waits = accepting._waiting_refused_by_postgres(Waiting(arrival(), "paused"), NotStorable("22P05"))
    assert waits == Waiting(instead, "paused")


def test_a_session_that_is_refused_is_a_failure_and_that_is_not_replaced_again() -> None:
    work = Work(
        request_id=UUID(int=1), attempt=1, session_id="ts_1", route=NOBODY, org_id="o", request=EMPTY,
        document="{}",
    )  # fmt: skip
    made = completed(work, datetime.now(UTC), {})
    assert isinstance(made, Completed)

    there, refused = (
        finishing._refused_by_postgres(made, NotStorable(state)) for state in ("23505", "22P05")
    )

    assert there is not None
    assert refused is not None
    assert (there.code, refused.code) == (FailureCode.REQUEST_ID_CONFLICT, FailureCode.REJECTED)
    assert isinstance(refused, Failed)
    assert finishing._refused_by_postgres(refused, NotStorable("22P05")) is None
