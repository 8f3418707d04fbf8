"""The checks, by the part of an installation that they belong to."""

from worker.operations.doctor.checks import (
    cluster,
    connections,
    handlers,
    kept,
    keys,
    policies,
    postgres,
    queues,
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
    *policies.CHECKS,
    *cluster.CHECKS,
    *queues.CHECKS,
    *workers.CHECKS,
    *handlers.CHECKS,
    *settings.CHECKS,
    *keys.CHECKS,
)
