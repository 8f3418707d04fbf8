"""Responses wait on record until a queue takes them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from schemas.wire import DIRECT_REPLY
from worker.postgres.database import Database
from worker.postgres.rows import route_in
from worker.values import Answer, Beginning, Receipt, Route

GIVE_UP_SECONDS = 86_400.0  # a requester's own queue that takes no response is tried for a day
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 3600.0  # between two tries: half as long as it has waited
_IN_HAND_SECONDS = 60.0  # until others may send what a worker has claimed: it may be dead
_COUNT_AT_MOST = 100_000


class Undelivered(NamedTuple):
    """A response on record that was not delivered, and the reason; None: it was not tried."""

    request_id: UUID
    reply_to: str | None
    why: Receipt | None


class InHand(NamedTuple):
    """Answers that this worker has claimed, and until when it has them."""

    answers: list[Answer]
    until: datetime | None


class Unanswered(NamedTuple):
    """The number of responses that wait for one reason, and the age of the oldest."""

    state: str
    waiting: int
    oldest_seconds: float


class WaitingAnswers:
    """Lets responses wait, and claims those that are due. Each method is one committed statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, undelivered: Sequence[Undelivered]) -> int:
        """Let these wait; returns how many of them are given up instead.

        This leaves alone a published one, and one that was tried at another address than its request's.
        """
        rows = sorted(undelivered, key=lambda one: one.request_id.int)
        put = await self._database.call(
            "answer_later",
            [row.request_id for row in rows],
            [row.why and row.why.value for row in rows],
            GIVE_UP_SECONDS,
            FIRST_WAIT_SECONDS,
            LONGEST_WAIT_SECONDS,
            DIRECT_REPLY,
            [row.reply_to for row in rows],
        )
        return sum(not row["waits"] for row in put)

    async def put_other(self, answers: Sequence[Answer]) -> None:
        """Let answers wait that are not the stored response of a request. All are for the response queue. One
        that another worker is about to send waits once more.
        """
        # Each once, which the statement wants; in order, so that two workers do not wait for each other.
        answers = [one for _, one in sorted({one.message_id: one for one in answers}.items())]
        await self._database.call(
            "keep_other_answers",
            [answer.message_id for answer in answers],
            [answer.request_id for answer in answers],
            [answer.status for answer in answers],
            [answer.code for answer in answers],
            [answer.body for answer in answers],
            [answer.route.correlation_id for answer in answers],
            [answer.route.traceparent for answer in answers],
        )

    async def claim_shared(self, status: str, most: int) -> list[Answer]:
        return await self._claim(status, most)

    async def claim_replies(self, most: int, *, direct: bool) -> list[Answer]:
        return await self._claim("direct" if direct else "reply", most)

    async def _claim(self, way: str, most: int) -> list[Answer]:
        return _answers(await self._database.call("claim_answers", way, most, _IN_HAND_SECONDS))

    async def claim_other(self, status: str, most: int) -> InHand:
        rows = await self._database.call("claim_other_answers", status, most, _IN_HAND_SECONDS)
        answers = [
            Answer(
                request_id=row["request_id"],
                status=row["status"],
                code=row["code"],
                body=row["body"],
                message_id=row["message_id"],
                route=Route(None, row["correlation_id"], row["traceparent"]),
            )
            for row in sorted(rows, key=lambda row: row["created_at"])
        ]
        return InHand(answers, rows[0]["claimed"] if rows else None)

    async def other_tried(
        self, delivered: Sequence[str], undelivered: Sequence[str], until: datetime | None
    ) -> None:
        """Forget what was delivered of those that were claimed until then, unless it waits once more."""
        await self._database.call("other_answers_tried", delivered, undelivered, until)

    async def forget_other(self, older_than_seconds: float, most: int) -> int:
        """Delete some of those that have waited for so long; returns how many."""
        rows = await self._database.call("forget_other_answers", older_than_seconds, most, aside=True)
        forgotten: int = rows[0]["forgotten"]
        return forgotten

    async def count(self) -> list[Unanswered]:
        rows = await self._database.call("unanswered", _COUNT_AT_MOST, aside=True)
        return [Unanswered(row["state"], row["waiting"], row["oldest_seconds"]) for row in rows]


def _answers(rows: Sequence[asyncpg.Record]) -> list[Answer]:
    return [
        Answer(
            request_id=row["request_id"],
            status=row["status"],
            code=row["error_code"],
            body=row["response"],
            message_id=str(row["request_id"]),
            route=route_in(row),
            since=Beginning(row["received_at"].timestamp(), "recovered"),
        )
        for row in sorted(rows, key=lambda row: row["finished_at"])
    ]
