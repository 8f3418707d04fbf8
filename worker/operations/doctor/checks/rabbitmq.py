"""Looks at the broker, its queues, policies and rights."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
