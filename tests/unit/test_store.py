"""What the store makes of the answers of its statements, where two workers or two tries meet."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from worker.errors import LeaseLost, NotStorable
from worker.postgres.leases import Leases
from worker.postgres.rows import Claim, Held, known_in, stored_answer
from worker.postgres.store import Store
from worker.process.failpoint import FailPoint
from worker.values import Arrival, Beginning, Route

ME, OTHER = UUID(int=9), UUID(int=8)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
NOBODY = Route(None, None, None)
LEASE = 70


class Answers(SimpleNamespace):
    """Answers each statement with what it is to answer, in order."""

    def __init__(self, **answers: list[Any]) -> None:
        super().__init__(answers=answers, asked=[])

    async def call(self, query: str, *_: object) -> Any:
        self.asked.append(query)
        answer = self.answers[query].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def store(**answers: list[Any]) -> tuple[Store, Leases, Answers]:
    asked = Answers(**answers)
    database = cast("Any", asked)
    leases = Leases(database, ME, 30)
    return Store(database, leases, FailPoint("")), leases, asked


def arrivals(*ids: UUID) -> list[Arrival]:
    return [Arrival(request_id=one, fingerprint=b"", session_id="ts", route=NOBODY) for one in ids]


def accepted(*begun: UUID, held: bool = True, released: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [{"begun": list(begun), "held": held, "released": list(released)}]


def known(
    request_id: UUID,
    *,
    worker: UUID = ME,
    lease: int = LEASE,
    attempt: int = 1,
    response: str | None = None,
) -> dict[str, Any]:
    return {
        "request_id": request_id, "status": "processing", "attempt": attempt, "org_id": None,
        "fingerprint": b"", "session_id": "ts", "response": response, "error_code": None, "reply_to": None,
        "correlation_id": None, "traceparent": None, "worker": worker, "lease": lease,
        "received_at": datetime.now(UTC), "published": False,
    }  # fmt: skip


def already_there() -> NotStorable:
    return NotStorable("23505")


async def test_who_inserts_beside_others_tries_again_once_for_each_request() -> None:
    requests, _, asked = store(accept=[already_there(), accepted(ONE)])
    assert await requests.accept(arrivals(ONE), LEASE) == {ONE}
    assert asked.asked == ["accept", "accept"]

    requests, _, _ = store(accept=[already_there(), already_there(), accepted(ONE, TWO)])
    assert await requests.accept(arrivals(TWO, ONE), LEASE) == {ONE, TWO}

    requests, _, asked = store(accept=[already_there()] * 9)
    with pytest.raises(NotStorable):
        await requests.accept(arrivals(ONE, TWO), LEASE)
    assert len(asked.asked) == 3


async def test_what_the_database_refuses_for_another_reason_is_not_tried_again() -> None:
    requests, _, asked = store(accept=[NotStorable("22021")])

    with pytest.raises(NotStorable):
        await requests.accept(arrivals(ONE, TWO), LEASE)

    assert asked.asked == ["accept"]


@pytest.mark.parametrize(
    "of_another",
    [
        known(TWO, worker=OTHER),
        known(TWO, lease=LEASE + 1),
        known(TWO, attempt=2),
        known(TWO, response="{}"),
    ],
)
async def test_of_what_is_there_already_only_that_of_a_lost_try_of_its_own_begins(
    of_another: dict[str, Any],
) -> None:
    requests, _, _ = store(accept=[accepted(THREE)], known=[[known(ONE), of_another]])

    assert await requests.accept(arrivals(ONE, TWO, THREE), LEASE) == {ONE, THREE}


async def test_under_a_lost_lease_all_of_a_batch_is_there_or_the_batch_fails() -> None:
    requests, _, _ = store(accept=[accepted(held=False)], known=[[known(ONE, worker=OTHER)]])
    with pytest.raises(LeaseLost):
        await requests.accept(arrivals(ONE, TWO), LEASE)

    requests, _, _ = store(accept=[accepted(held=False)], known=[[known(ONE, worker=OTHER), known(TWO)]])
    assert await requests.accept(arrivals(ONE, TWO), LEASE) == {TWO}


async def test_what_a_batch_has_taken_along_of_those_before_it_is_not_noted_again() -> None:
    requests, leases, asked = store(accept=[accepted(ONE, released=(1,))])
    with leases.take() as lease:
        leases.note_published([TWO], lease)
    assert lease == 1

    await requests.accept(arrivals(ONE), LEASE)
    await leases.flush_notes()

    assert asked.asked == ["accept"]


async def test_it_is_said_whose_the_requests_on_record_are_and_where_their_responses_go() -> None:
    requests, _, _ = store(orgs_of=[[{"request_id": ONE, "org_id": "a"}]])
    assert await requests.orgs_of([ONE, TWO]) == {ONE: "a"}

    row = known(ONE) | {"reply_to": "mine", "correlation_id": "c", "traceparent": "t"}
    requests, _, _ = store(known=[[row]])
    assert [one.route for one in await requests.known([ONE])] == [Route("mine", "c", "t")]


def claim(request_id: UUID, attempt: int) -> Claim:
    return Claim(request_id=request_id, attempt=attempt, holder=OTHER, lost=True)


async def test_of_what_was_not_claimed_now_that_of_a_lost_try_of_its_own_is_claimed() -> None:
    four, five = UUID(int=4), UUID(int=5)
    requests, _, _ = store(
        claim_again=[[{"request_id": ONE}]],
        known=[
            [
                known(TWO, attempt=3),
                known(THREE, worker=OTHER, attempt=3),
                known(four, attempt=3, response="{}"),
                known(five, attempt=4),
            ]
        ],
    )

    claims = [claim(one, 2) for one in (ONE, TWO, THREE, four, five)]

    assert await requests.claim_again(claims, LEASE) == {ONE, TWO}


async def test_where_all_are_claimed_nothing_more_is_asked() -> None:
    requests, _, asked = store(claim_again=[[{"request_id": ONE}]])

    assert await requests.claim_again([claim(ONE, 2)], LEASE) == {ONE}
    assert asked.asked == ["claim_again"]


@pytest.mark.parametrize("published", [True, False])
def test_an_answer_is_timed_where_nobody_is_known_to_have_got_it_before(published: bool) -> None:
    row = known_in(cast("Any", known(ONE, response="{}") | {"published": published}))
    begun = Beginning(1.0, "direct")

    assert stored_answer(row, since=begun).since == (None if published else begun._replace(path="recovered"))
    assert stored_answer(row, since=None).since is None


def test_an_answer_that_a_lease_held_is_timed() -> None:
    held: Any = Held._make([None] * len(Held._fields))
    begun = Beginning(1.0, "retried")

    answer = stored_answer(held._replace(response="{}"), since=begun)

    assert answer.since == begun._replace(path="recovered")
