"""Looks at the tables in Postgres."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
