"""Works on a selection: at its rate, by one process at a time, and from where another one has left it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

from worker.backoff import delays
from worker.errors import PublishInterrupted, WorkerError
from worker.operations.acting import Acting, Left, Row
from worker.operations.selections import SILENT_SECONDS, Selection, selections
from worker.postgres.database import Database
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

MOST_A_SECOND = 1_000.0
LEAST_A_SECOND = 0.1  # slower, and its process would seem to be gone
_WHY = {
    Receipt.UNROUTABLE: "no queue there",
    Receipt.REFUSED: "the queue takes no more",
    Receipt.UNPUBLISHABLE: "the broker closes the connection over it: its address, or its size",
}


class NotOurs(WorkerError):
    """Another process works on the selection, or somebody has stopped this one's work on it."""


class Bulk:
    """Does what a selection is for. Each step may be repeated: the ids of retries follow from the selection,
    a response has the id and the bytes that it always had, and to cancel again changes nothing.
    """

    def __init__(self, database: Database, publisher: OneByOne, selection: Selection, acting: Acting) -> None:
        self._database = database
        self._publisher = publisher
        self._selection = selection
        self._acting = acting
        self._runner = uuid4()

    async def run(
        self, report: Callable[[Selection], None], *, by: str, reason: str | None, patience: float
    ) -> Selection:
        """Begin, and work until nothing is left; return how it ended. Raises what both of them raise."""
        await self.begin(by=by, reason=reason)
        return await self.work(report, patience=patience)

    async def begin(self, *, by: str, reason: str | None) -> None:
        """Take the selection for this process alone. Raises NotOurs."""
        begun = await self._database.call(
            "begin_selection", self._selection.id, self._runner, by, reason, SILENT_SECONDS, aside=True
        )
        if not begun:
            raise NotOurs(await self._whose())

    async def work(self, report: Callable[[Selection], None], *, patience: float) -> Selection:
        """Work until nothing is left, and return how it ended. Raises NotOurs, and PublishInterrupted when
        the broker was away for longer than the patience; then, and when it is cancelled, the selection is
        stopped and may be continued.
        """
        try:
            while await self._next(patience):
                report(await self._now())
        finally:
            with suppress(Exception):  # Postgres may be what has failed; then it is seen to be silent
                await self._database.call("end_selection", self._selection.id, self._runner, aside=True)
        return await self._now()

    async def _next(self, patience: float) -> bool:
        """Do a second's work, or at least one request; return whether anything was left."""
        clock = asyncio.get_running_loop().time
        began, rate = clock(), self._selection.rate
        rows = await self._database.call(
            "next_of_selection", self._selection.id, self._runner, max(1, round(rate)), aside=True
        )
        if not rows:
            raise NotOurs(await self._whose())
        rows = [row for row in rows if row["request_id"] is not None]
        if not rows:
            return False
        await self._act(rows, patience)
        await asyncio.sleep(max(0, began + len(rows) / rate - clock()))
        return True

    async def _act(self, rows: Sequence[Row], patience: float) -> None:
        plans = {row["request_id"]: self._acting.plan(row) for row in rows}
        if self._selection.action == "retry":
            plans |= await self._linked(
                [row for row in rows if isinstance(plans[row["request_id"]], Outgoing)]
            )
        messages = {key: plan for key, plan in plans.items() if isinstance(plan, Outgoing)}
        left = {key: plan for key, plan in plans.items() if isinstance(plan, Left)}
        receipts = dict(zip(messages, await self._publish(list(messages.values()), patience), strict=True))
        left |= {
            key: Left("failed", _WHY[receipt])
            for key, receipt in receipts.items()
            if receipt is not Receipt.CONFIRMED
        }
        ids = [row["request_id"] for row in rows]
        await self._database.call(
            "note_of_selection", self._selection.id, self._runner, ids,
            [left[key].state if key in left else "done" for key in ids],
            [left[key].why[:500] if key in left else "sent" for key in ids],
            aside=True,
        )  # fmt: skip

    async def _linked(self, rows: Sequence[Row]) -> dict[UUID, Outgoing | Left]:
        """Note their new ids, before anything is sent, and plan them with these: of two selections one
        retries a request. One that another selection has noted, and never sent, keeps that id.
        """
        ids = [row["request_id"] for row in rows]
        new = [self._acting.retry_id(request_id) for request_id in ids]
        noted = await self._database.call("link_retries", self._selection.id, ids, new, aside=True)
        as_which = {row["request_id"]: row["retried_as"] for row in noted}
        return {
            row["request_id"]: self._acting.plan(row, as_which[row["request_id"]])
            if row["request_id"] in as_which
            else Left("skipped", "it was retried before, by another selection")
            for row in rows
        }

    async def _publish(self, messages: list[Outgoing], patience: float) -> list[Receipt]:
        waits, clock = delays(0.2, 2), asyncio.get_running_loop().time
        until = clock() + patience
        while True:
            try:
                return await self._publisher.publish(messages)
            except PublishInterrupted:
                if clock() > until:
                    raise
            await asyncio.sleep(next(waits))
            await self._database.call("seen_with_selection", self._selection.id, self._runner, aside=True)

    async def _now(self) -> Selection:
        return (await selections(self._database, self._selection.id))[0]

    async def _whose(self) -> str:
        now = await self._now()
        match now.state:
            case "running":
                return (
                    f"another process works on selection {now.id}: wait for it, or "
                    f"`session-worker selections stop {now.id}`"
                )
            case "stopped":
                return (
                    f"selection {now.id} was stopped, {now.left} are left: "
                    f"`session-worker selections continue {now.id}`"
                )
            case _:
                return f"selection {now.id} is {now.state}: nothing is left to do"
