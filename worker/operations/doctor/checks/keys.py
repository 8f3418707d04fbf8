"""Looks at the keys that seal credentials."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
