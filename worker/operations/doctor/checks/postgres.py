"""Looks at the server of Postgres."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
