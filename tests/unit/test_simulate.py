"""The simulation for sizing comes near what was measured, and is limited by what limits a worker."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.calibration import Calibration, Paced, Waits, costs_of, with_kernel
from bench.costs import Cost
from bench.simulate import Costs, Open, Plan, simulate

RESULTS = Path(__file__).parents[2] / "bench" / "results"
WITHIN = 0.2


def measured(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


LATENCY = measured("latency-2026-11-21")
ROUNDS = [one for one in measured("throughput")["figures"] if one["name"].startswith("this worker")]


@pytest.mark.parametrize("part", LATENCY["loaded_ms"])
def test_how_long_requests_take_at_a_rate(part: str) -> None:
    rate = LATENCY["maximum_per_second"] * float(part.rstrip("%")) / 100

    result = simulate(Costs(), Plan(gathers=False), rate, 4)

    assert result.p50 == pytest.approx(LATENCY["loaded_ms"][part]["p50"], rel=WITHIN)
    assert result.per_second == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("workers", [1, 2])
def test_how_many_requests_a_round_has(number: int, workers: int) -> None:
    """Each round with its own costs: the machine was faster in one than in another."""
    name = "this worker, 2 processes" if workers == 2 else "this worker"
    found = [one for one in ROUNDS if one["name"] == name][number]
    usual, batch = Costs(), Plan().batch_size
    costs = usual._replace(
        worker_us=found["cpu_us"] - usual.worker_batch_us / batch,
        postgres_us=found["postgres_us"] - usual.postgres_batch_us / batch,
        broker_us=found["broker_us"] - 3 * usual.broker_batch_us / batch,
    )

    result = simulate(costs, Plan(workers=workers), None, 2)

    assert result.per_second == pytest.approx(found["per_second"], rel=WITHIN)


def test_one_worker_is_as_quick_as_its_loop_and_more_of_them_as_the_leader_of_their_queue() -> None:
    costs, many = Costs(), Plan(cores=None, prefetch=2048)
    loop = 1e6 / (costs.worker_us + costs.worker_batch_us / 128)
    leader = 1e6 / (2 / 3 * costs.broker_us)

    one = simulate(costs, many, None, 2).per_second
    eight = simulate(costs, many._replace(workers=8), None, 2).per_second
    shards = simulate(costs, many._replace(workers=8, shards=8), None, 2).per_second

    assert 0.85 * loop < one < 1.02 * loop, "but for a batch that ends just in time"
    assert one * 2 < eight < leader
    assert shards > 1.3 * eight


def test_a_slow_commit_is_shared_by_a_batch() -> None:
    slow = Costs(postgres_commit_seconds=0.05)

    one_at_a_time = simulate(slow, Plan(batch_size=1), None, 4).per_second
    batches = simulate(slow, Plan(), None, 4).per_second

    assert batches > 50 * one_at_a_time


def test_costs_are_those_that_the_measured_ones_are_made_of() -> None:
    known = Costs(
        worker_us=50, worker_batch_us=1100, postgres_us=20, postgres_batch_us=1000, broker_us=40,
        broker_in_us=25, broker_batch_us=150, load_us=6, load_in_us=20, load_batch_us=80, beside=0.3,
        postgres_commit_seconds=0.0002, broker_commit_seconds=0.0003, postgres_disk_us=2, broker_disk_us=2,
    )  # fmt: skip

    def at(rate: float, in_batch: float, at_once: float) -> Paced:
        both = 1 / in_batch + 1 / at_once
        cost = Cost(
            process=known.worker_us + known.worker_batch_us / in_batch,
            broker=known.broker_in_us + known.broker_us + 2 * known.broker_batch_us * both,
            postgres=known.postgres_us + known.postgres_batch_us / in_batch,
            load=known.load_in_us + known.load_us + known.load_batch_us * both,
            machine=0,
        )
        return Paced(rate, cost, in_batch, at_once, p50=0, p99=0)

    found = costs_of(
        Calibration(
            full=Cost(
                process=known.worker_us + known.worker_batch_us / 128,
                broker=known.broker_us + 4 * known.broker_batch_us / 128,
                postgres=known.postgres_us + known.postgres_batch_us / 128,
                load=known.load_us + known.load_batch_us / 128,
                machine=0,
            ),
            paced=[at(1200, 3, 2.5), at(4800, 45, 12)],
            waits=Waits(postgres_commit=0.0002, postgres_request=2e-6, broker_commit=0.0003),
            lone_ms=simulate(known, Plan(cores=os.cpu_count()), Open(1), 1).p50,
        )
    )

    assert found == pytest.approx(known, rel=0.01)


def test_what_the_kernel_does_is_shared_out_among_those_for_whom_it_does_it() -> None:
    shared = with_kernel(Cost(60, 40, 25, 15, machine=204), per_second=2000, idle=0.1)

    assert shared == pytest.approx(Cost(66, 44, 27.5, 16.5, machine=204)), "50 of it are others'"


def test_more_unanswered_requests_take_longer_and_are_no_fewer() -> None:
    few, many = (simulate(Costs(), Plan(), Open(requests, 50), 3) for requests in (500, 2000))

    assert many.per_second == pytest.approx(few.per_second, rel=0.1)
    assert many.p50 == pytest.approx(4 * few.p50, rel=0.2)


def test_logs_on_one_disk_wait_for_each_other() -> None:
    slow = Costs(postgres_commit_seconds=0.004, broker_commit_seconds=0.004)

    together, apart = (simulate(slow, Plan(cores=cores), 300, 3).p50 for cores in (8, None))

    assert together > 1.2 * apart
