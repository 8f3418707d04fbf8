"""The statements of the stand-in for Postgres for responses that wait until a queue takes them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from simulation.rows import OtherAnswer, Request
from simulation.table_rows import Rows, TableRows


class AnswerStatements(TableRows):
    """Lets responses wait, and claims those that are due."""

    def answer_later(
        self, ids: list[UUID], reasons: list[str | None], give_up: float, first: float, longest: float,
        direct: str, addresses: list[str | None],
    ) -> Rows:  # fmt: skip
        put = []
        for one, why, reply_to in zip(ids, reasons, addresses, strict=True):
            row = self.requests.get(one)
            if row is None or row.reply_to != reply_to or row.finished_at is None:
                continue
            if row.is_published(self.confirmed) or row.published_at:
                continue
            row.undelivered = why
            row.answer_at = self._next_try(row, why, give_up, first, longest)
            row.answer_way = (
                row.status if reply_to is None else "direct" if reply_to.startswith(direct) else "reply"
            )
            put.append({"request_id": one, "waits": row.answer_at is not None})
        return put

    def _next_try(
        self, row: Request, why: str | None, give_up: float, first: float, longest: float
    ) -> datetime | None:
        assert row.finished_at is not None
        waited = (self.now - row.finished_at).total_seconds()
        if why is None:
            return self.now
        if why == "unpublishable":
            return None
        if row.reply_to is None:
            return row.finished_at
        if why == "refused" and waited < give_up:
            wait = min(max(waited / 2, first), longest)
            return self._in((0.8 + 0.4 * self._chance.random()) * wait)
        return None

    def claim_answers(self, way: str, most: int, seconds: float) -> Rows:
        due = sorted(
            (row for row in self.requests.values()
             if row.answer_way == way and row.answer_at and row.answer_at <= self.now),
            key=lambda row: str(row.answer_at),
        )[:most]  # fmt: skip
        for row in due:
            row.answer_at = self._in(seconds)
        return [vars(row).copy() for row in due]

    def keep_other_answers(self, message_ids: list[str], *columns: list[Any]) -> Rows:
        names = ("request_id", "status", "code", "body", "correlation_id", "traceparent")
        for message_id, *values in zip(message_ids, *columns, strict=True):
            row = {"message_id": message_id, "created_at": self.now, **dict(zip(names, values, strict=True))}
            there = self.other_answers.setdefault(message_id, OtherAnswer(row, self.now))
            there.answer_at = min(there.answer_at, self.now)
        return []

    def claim_other_answers(self, status: str, most: int, seconds: float) -> Rows:
        due = [
            one for one in self.other_answers.values()
            if one.row["status"] == status and one.answer_at <= self.now
        ][:most]  # fmt: skip
        for one in due:
            one.answer_at = self._in(seconds)
        return [one.row | {"claimed": one.answer_at} for one in due]

    def other_answers_tried(
        self, delivered: list[str], undelivered: list[str], until: datetime | None
    ) -> Rows:
        for message_id in delivered:
            if (one := self.other_answers.get(message_id)) and one.answer_at == until:
                del self.other_answers[message_id]
        for message_id in undelivered:
            if one := self.other_answers.get(message_id):
                one.answer_at = one.row["created_at"]
        return []
