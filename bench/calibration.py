"""Makes the costs of the simulation from what was measured on a machine.

What a batch costs beside its requests shows between a full queue, whose batches are full, and two rates that
are kept up, whose batches are small. What of it no request waits for shows in the time of a lone request.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from bench.costs import Cost
from bench.simulate import Costs, Open, Plan, simulate

_HALVINGS = 12
_FULL = Plan().batch_size
_DELIVERIES = 2  # by which the broker hands out a full batch


class Paced(NamedTuple):
    """What was seen of requests that came at a rate. The cost is that of a request."""

    rate: float
    cost: Cost
    in_batch: float
    at_once: float  # that many were published together
    p50: float  # milliseconds
    p99: float


class Waits(NamedTuple):
    """Seconds until something is on the disk, while nothing else is written."""

    postgres_commit: float
    postgres_request: float  # more, for each request of a batch
    broker_commit: float


class Calibration(NamedTuple):
    """What costs are made of. Nothing of it is predicted."""

    full: Cost  # of a request of a full queue; publishing it is not in there
    paced: Sequence[Paced]  # at two rates
    waits: Waits
    lone_ms: float


def costs_of(found: Calibration) -> Costs:
    """Make the costs of the simulation."""
    full, few, many = found.full, *(one.cost for one in found.paced)
    batches = [1 / one.in_batch for one in found.paced]
    both = [1 / one.in_batch + 1 / one.at_once for one in found.paced]

    def split(of_full: float, of_few: float, of_many: float) -> tuple[float, float]:
        """Return what a request costs, and what its batch does. The full queue is the surer of the two."""
        batch = max(0.0, (of_few + of_many - 2 * of_full) / (sum(batches) - 2 / _FULL))
        return max(0.0, of_full - batch / _FULL), batch

    worker_us, worker_batch_us = split(full.process, few.process, many.process)
    postgres_us, postgres_batch_us = split(full.postgres, few.postgres, many.postgres)
    # Of a rate that comes the load and the broker do more than of a full queue: it has to come in.
    load_batch_us = max(0.0, (few.load - many.load) / (both[0] - both[1]))
    load_us = max(0.0, full.load - load_batch_us / _FULL)
    broker_batch_us = max(0.0, (few.broker - many.broker) / 2 / (both[0] - both[1]))
    broker_us = max(0.0, full.broker - (2 + _DELIVERIES) * broker_batch_us / _FULL)
    costs = Costs(
        worker_us=worker_us, worker_batch_us=worker_batch_us,
        postgres_us=postgres_us, postgres_batch_us=postgres_batch_us,
        broker_us=broker_us, broker_batch_us=broker_batch_us,
        broker_in_us=max(0.0, many.broker - 2 * broker_batch_us * both[1] - broker_us),
        load_us=load_us, load_batch_us=load_batch_us,
        load_in_us=max(0.0, many.load - load_batch_us * both[1] - load_us),
        postgres_commit_seconds=found.waits.postgres_commit,
        broker_commit_seconds=found.waits.broker_commit,
        postgres_disk_us=found.waits.postgres_request * 1e6,
        broker_disk_us=found.waits.postgres_request * 1e6,  # its log has about as many bytes
    )  # fmt: skip
    return costs._replace(beside=_beside(costs, found.lone_ms))


def with_kernel(cost: Cost, per_second: float, idle: float) -> Cost:
    """Give each of the four parts its share of what the kernel does for them. `idle`: cores of others."""
    four = cost.process + cost.broker + cost.postgres + cost.load
    share = max(1.0, (cost.machine - idle / per_second * 1e6) / four)
    return Cost(
        cost.process * share, cost.broker * share, cost.postgres * share, cost.load * share, cost.machine
    )


def _beside(costs: Costs, lone_ms: float) -> float:
    """Find out what of a batch nobody waits for: so much that a lone request takes as long as it does."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        lone = simulate(costs._replace(beside=middle), Plan(cores=os.cpu_count()), Open(1), 1).p50
        low, high = (middle, high) if lone > lone_ms else (low, middle)
    return low
