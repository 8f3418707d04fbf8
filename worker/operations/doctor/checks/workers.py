"""Looks at the workers and their handlers."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
