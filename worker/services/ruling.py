"""Keeps the gate informed: which pauses and limits are in force, who is in line, and how many wait."""

import time

import structlog

from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.put_off import PutOffLine
from worker.postgres.rule_book import Edition, RuleBook
from worker.postgres.waiting_line import WaitingLine
from worker.rabbitmq.intake import Intake
from worker.rules import NOTHING, Pause, Rules
from worker.steps.gate import Gate

LOOK_SECONDS = 0.4  # what is decided is in force within a second, on every worker
COUNT_SECONDS = 5.0
_COUNTED_DUE = 10_000
_COST = 50  # what waits is counted again after at least so many times what it took to count it
_log = structlog.get_logger(__name__)


class Ruling:
    """Looks at what is on record, and tells the gate. It also shows what there is to see of waiting."""

    def __init__(
        self,
        book: RuleBook,
        line: WaitingLine,
        put_off: PutOffLine,
        gate: Gate,
        intake: Intake,
        readiness: Readiness,
        metrics: Metrics,
        *,
        me: str,
        most_counted: int,
    ) -> None:
        self._book = book
        self._line = line
        self._put_off = put_off
        self._gate = gate
        self._intake = intake
        self._readiness = readiness
        self._metrics = metrics
        self._me = me
        self._most_counted = most_counted
        self._edition: Edition | None = None
        self._rules = NOTHING
        self._count_again = 0.0
        self._told_full = False

    async def look(self) -> None:
        """Learn the rules, if they have changed, and who is in line."""
        edition, any_in_line = await self._book.edition()
        if edition != self._edition:
            self._tell(await self._book.read())
            self._edition = edition
        was_paused = self._gate.worker_paused
        self._gate.learn(self._rules, await self._line.awake() if any_in_line else ())
        if was_paused != self._gate.worker_paused:
            self._readiness.nudge()

    async def count(self) -> None:
        """Count what waits and what is due. Each worker shows the same numbers: it counts those of all."""
        if not self._readiness.are_up(database.PART):
            return
        due, overdue = await self._put_off.due_now(_COUNTED_DUE)
        self._metrics.retries_due.set(due)
        self._metrics.retry_overdue.set(overdue)
        if (begun := time.monotonic()) < self._count_again:
            return
        counts = await self._line.count(self._most_counted)
        self._count_again = begun + _COST * (time.monotonic() - begun)
        self._metrics.show_waiting({one.reason: one.waiting for one in counts})
        self._metrics.oldest_waiting.set(max((one.oldest_seconds for one in counts), default=0.0))
        waiting = sum(one.waiting for one in counts)
        self._gate.counted(waiting)
        if self._gate.full != self._told_full:
            self._told_full = self._gate.full
            if self._told_full:
                _log.warning(
                    "waiting.full", waiting=waiting,
                    consequence="what would have to wait stays in the queue, with all that is behind it",
                    remedy="resume or raise what holds it back, or a higher WORKER_MAX_WAITING",
                )  # fmt: skip
            else:
                _log.info("waiting.has_room", waiting=waiting)

    def _tell(self, rules: Rules) -> None:
        self._metrics.paused.labels("all").set(bool(rules.all_paused))
        self._metrics.paused.labels("org").set(bool(rules.paused_orgs))
        self._metrics.paused.labels("worker").set(self._me in rules.paused_workers)
        if rules != self._rules:
            _log.info(
                "rules.changed", all_paused=bool(rules.all_paused), paused_orgs=len(rules.paused_orgs),
                paused_workers=len(rules.paused_workers), limits=sum(
                    1 for limit in (rules.of_all, rules.of_each) if limit
                ) + len(rules.of_orgs),
            )  # fmt: skip
        self._steer(rules.pause_of_worker(self._me))
        self._rules = rules

    def _steer(self, pause: Pause | None) -> None:
        """Hold this worker back while it is paused itself. While all are, it goes on taking requests: what
        may not begin waits in Postgres then, where a deadline and a cancellation reach it.
        """
        if pause and pause.scope == "worker":
            self._intake.hold_back()
        else:
            self._intake.go_on()
        if pause == self._readiness.pause:
            return
        if pause:
            _log.warning(
                "worker.paused", scope=pause.scope, reason=pause.reason, by=pause.paused_by,
                until=pause.ends_at.isoformat() if pause.ends_at else None,
            )  # fmt: skip
        else:
            _log.info("worker.resumed")
        self._readiness.pause = pause
