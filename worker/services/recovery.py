"""Takes over leases that are due: their worker died or stopped."""

import asyncio

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres.leases import Leases
from worker.postgres.rows import TakenOver
from worker.services.heartbeat import Heartbeat
from worker.services.running import Running
from worker.steps.attempting import NEEDED, Attempting
from worker.steps.gate import Gate
from worker.steps.slots import Line
from worker.values import Path

_LEASES_AT_ONCE = 64
_log = structlog.get_logger(__name__)


class Recovery:
    """Takes over leases that are due and runs what they hold through the same pipeline."""

    def __init__(
        self,
        leases: Leases,
        attempting: Attempting,
        gate: Gate,
        heartbeat: Heartbeat,
        readiness: Readiness,
        metrics: Metrics,
    ) -> None:
        self._leases = leases
        self._attempting = attempting
        self._gate = gate
        self._heartbeat = heartbeat
        self._readiness = readiness
        self._metrics = metrics
        self._suspects = asyncio.Lock()
        self._stopping = False
        self.running = Running()

    async def run_once(self) -> None:
        """Look once for leases that are due. What they hold is worked on beside this loop."""
        room = _LEASES_AT_ONCE - len(self.running)
        if self._stopping or self._gate.worker_paused or not self._readiness.are_up(*NEEDED) or room <= 0:
            return
        async with self.running.taking:
            for taken in await self._leases.take_over(room, from_silent_holders=self._heartbeat.steady):
                self.running.begin(self._recover(taken))

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True

    async def _recover(self, taken: TakenOver) -> None:
        try:
            with self._leases.holding(taken.lease):
                await self._work_off(taken)
        except Exception:  # noqa: BLE001 — logged with its traceback; the lease runs out again
            _log.exception("recovery.failed", lease=taken.lease)

    async def _work_off(self, taken: TakenOver) -> None:
        held = await self._leases.held(taken.lease)
        _log.info(
            "lease.taken_over", lease=taken.lease, requests=len(held),
            holder_silent=taken.holder_silent, new_attempt=taken.spends_attempt,
        )  # fmt: skip
        answered = [row for row in held if row.response is not None]
        await self._attempting.answer_again(answered)
        self._count("answered", len(answered), taken)
        # A lease without a holder was given back by a worker that stopped, or is a retry of an older version.
        path: Path = "recovered" if taken.holder_silent or not taken.spends_attempt else "retried"
        unfinished = await self._attempting.open(
            [row for row in held if row.response is None], taken.lease, path,
            lost=taken.holder_silent, spent=taken.spends_attempt,
        )  # fmt: skip
        left = await self._attempting.give_up(unfinished, taken.lease)
        self._count("exhausted", len(unfinished) - len(left), taken)
        waits = [one for one in left if self._gate.rules.reason_to_wait(one.work.org_id)]
        await self._attempting.put_back(waits, taken.lease)
        rest = [one for one in left if one not in waits] if waits else left
        if taken.holder_silent:
            async with (
                self._suspects
            ):  # one group at a time: a request that kills its worker takes few with it
                tried = await self._attempting.in_groups(rest, taken.lease, Line.TAKEN_OVER)
        else:
            tried = await self._attempting.in_groups(rest, taken.lease, Line.TAKEN_OVER)
        self._count("tried_again", tried, taken)

    def _count(self, kind: str, requests: int, taken: TakenOver) -> None:
        if taken.holder_silent:  # a lease that was given back, or is an older version's retry, is no crash
            self._metrics.recovered.labels(kind).inc(requests)
        elif kind == "tried_again" and taken.spends_attempt:
            self._metrics.retried.inc(requests)
