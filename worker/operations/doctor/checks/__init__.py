"""The checks, by the part of an installation that they belong to."""

from worker.operations.doctor.checks import (
    connections,
    kept,
    keys,
    postgres,
    rabbitmq,
    requests,
    settings,
    tables,
    workers,
)
from worker.operations.doctor.checks.away import AWAY
from worker.operations.doctor.finding import Check

ALL: tuple[Check, ...] = (
    *AWAY.values(),
    *connections.CHECKS,
    *postgres.CHECKS,
    *tables.CHECKS,
    *requests.CHECKS,
    *kept.CHECKS,
    *rabbitmq.CHECKS,
    *workers.CHECKS,
    *settings.CHECKS,
    *keys.CHECKS,
)
