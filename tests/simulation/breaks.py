"""Guards of the worker, and of the statements it relies on, each taken away: some seed has to find it.

`FOUND` says what is then told of, and by which of the first seeds.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from unittest import mock
from uuid import UUID

from simulation.rows import Request
from simulation.run import run_seed, simulated
from simulation.tables import Tables

from worker.errors import PublishInterrupted
from worker.postgres.rows import Claim
from worker.postgres.store import Store
from worker.postgres.waiting_answers import Undelivered, WaitingAnswers
from worker.rabbitmq import writing
from worker.rabbitmq.publisher import Publisher
from worker.rabbitmq.writing import Outgoing
from worker.steps.answering import Answering
from worker.steps.finishing import Finishing, _answer, _Stored
from worker.steps.pipeline import Pipeline
from worker.values import Answer, Arrival, Completed, Duplicate, Failed, Receipt, Verdict


class Guard(NamedTuple):
    """What is taken away: of which class which method, and what is there in its place."""

    owner: type
    method: str
    instead: Callable[..., Any]
    found: str  # in what is told of the run
    within: int  # seeds


_begin, _answer_known = Pipeline._begin, Pipeline._answer_known
_finish, _answering, _publish_window = Finishing.finish, Answering.answer, Publisher._publish_window


async def _settle_nothing(_request_ids: Sequence[UUID]) -> None:
    """It was done before."""


async def _settle_first(self: Pipeline, arrivals: Sequence[Arrival], slots: Any, settle: Any) -> None:
    await settle([arrival.request_id for arrival in arrivals])
    await _begin(self, arrivals, slots, _settle_nothing)


async def _settle_copies_first(self: Pipeline, duplicates: Sequence[Duplicate], settle: Any) -> None:
    if duplicates:
        await settle([one.request_id for one in duplicates])
    await _answer_known(self, duplicates, _settle_nothing)


async def _note_first(self: Answering, answers: Sequence[Answer], **how: Any) -> list[bool]:
    self._note_published([answer.request_id for answer in answers if answer.on_record], None)
    return await _answering(self, answers, **how)


async def _answer_first(
    self: Finishing, verdicts: Sequence[Verdict], lease: int, begun: float | None = None
) -> list[Answer]:
    """Store them while the response is on its way."""
    self.storing = asyncio.ensure_future(_finish(self, verdicts, lease, begun))  # type: ignore[attr-defined] # of this
    final = [one for one in verdicts if isinstance(one, Completed | Failed)]
    return [_answer(_Stored(one, one.work.route), lease) for one in final] or await self.storing  # type: ignore[attr-defined] # of this


async def _answer_what_is_lost(
    self: Finishing, verdicts: Sequence[Completed | Failed], lease: int, begun: float | None
) -> list[Answer]:
    return await self._answers([_Stored(one, one.work.route) for one in verdicts], lease, begun)


async def _accept_once(self: Store, arrivals: Sequence[Arrival], lease: int) -> set[UUID]:
    """Believe the answer, also where a try before it was carried out."""
    with mock.patch.object(self, "known", _nothing_known):
        return await _accept(self, arrivals, lease)


_accept, _claim_again = Store.accept, Store.claim_again


async def _nothing_known(_ids: Sequence[UUID]) -> list[Any]:
    return []


async def _forget_refused(_self: WaitingAnswers, _undelivered: Sequence[Undelivered]) -> int:
    return 0


async def _believe_in_luck(self: Publisher, messages: Sequence[Outgoing]) -> list[Receipt]:
    try:
        return await _publish_window(self, messages)
    except PublishInterrupted:
        return [Receipt.CONFIRMED] * len(messages)


def _confirm_all(self: writing._Confirm, _error: BaseException) -> None:
    self._settle(Receipt.CONFIRMED)


def _any_attempt(self: Tables, request_id: UUID, _attempt: int) -> Request | None:
    row = self.requests.get(request_id)
    return row if row and row.status == "processing" else None


async def _claim_once(self: Store, claims: Sequence[Claim], lease: int) -> set[UUID]:
    """Believe the answer, also where a try before it was carried out."""
    with mock.patch.object(self, "known", _nothing_known):
        return await _claim_again(self, claims, lease)


# fmt: off
GUARDS: Final = {
    "a delivery is settled once its request is on record":
        Guard(Pipeline, "_begin", _settle_first, "nothing lost", 300),
    "a copy is settled once it is answered":
        Guard(Pipeline, "_answer_known", _settle_copies_first, "every request is answered", 2000),
    "a response is noted as published once it is confirmed":
        Guard(Answering, "answer", _note_first, "every request is answered", 600),
    "a response is published once it is on record":
        Guard(Finishing, "finish", _answer_first, "one response", 600),
    "a verdict that was not stored is not published":
        Guard(Finishing, "_fenced_off", _answer_what_is_lost, "one response", 600),
    "a request that a lost try has inserted is its own":
        Guard(Store, "accept", _accept_once, "left", 600),
    "a response that a queue refuses waits":
        Guard(WaitingAnswers, "put", _forget_refused, "every request is answered", 100),
    "a publish that was interrupted is repeated":
        Guard(Publisher, "_publish_window", _believe_in_luck, "every request is answered", 600),
    "a refusal is no confirm":
        Guard(writing._Confirm, "set_exception", _confirm_all, "every request is answered", 100),
    "a verdict is stored for its own attempt alone":
        Guard(Tables, "_current", _any_attempt, "the verdict of attempt", 2000),
    "an attempt that a lost try has begun is its own":
        Guard(Store, "claim_again", _claim_once, "left", 2000),
}
# fmt: on


class Found(NamedTuple):
    """The first seed that tells of what is missing, and what it tells."""

    seed: int
    problem: str


def first_to_find(guard: str) -> Found | None:
    """Run one seed after the other without a guard, until one tells what that leads to."""
    with simulated(), without(guard):
        for seed in range(GUARDS[guard].within):
            for problem in run_seed(seed).problems:
                if GUARDS[guard].found in problem:
                    return Found(seed, problem)
    return None


@contextmanager
def without(guard: str) -> Iterator[None]:
    """Take a guard away."""
    one = GUARDS[guard]
    with mock.patch.object(one.owner, one.method, one.instead):
        yield
