"""Looks at the requests on record, and at what is kept beside them."""

from worker.operations.doctor.finding import Check

CHECKS: tuple[Check, ...] = ()
