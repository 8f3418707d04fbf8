"""The simulation for sizing comes near what was measured, and is limited by what limits a worker."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.simulate import Costs, Plan, simulate

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
