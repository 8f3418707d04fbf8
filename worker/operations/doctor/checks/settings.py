"""Looks at the settings."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
