"""A short chaos run keeps every promise; `docs/reliability.md` has a long one, with more kinds of faults."""

import sys

import pytest
from support.faults.chaos import run_chaos

SEED = 199_907  # all is paused early, for longer than the deadlines that some have
REQUESTS = 5_000
FAULTS = 14


@pytest.mark.timeout(900)
async def test_every_promise_holds_while_servers_workers_and_networks_fail() -> None:
    report = await run_chaos(SEED, REQUESTS, FAULTS, say=lambda line: print(line, file=sys.stderr))
    print(report.text(), file=sys.stderr)

    assert report.violations == []
    assert len(report.faults) >= 10, "enough went wrong"
    assert all(fault.in_flight > 0 for fault in report.faults), "each fault met work in flight"
    assert len(report.operations) == 5
    assert min(report.operations.values()) > 20, "others asked, cancelled, looked, and were refused"
    assert report.waited >= 300, "many had to wait"
    assert report.claims >= 50, "and were claimed again and again"
    assert {"all paused", "some paused", "running limited", "rate limited"} & {
        fault.name for fault in report.faults
    }, "people held them back"
    assert report.too_late > 0, "and some of them until their deadline"
    assert report.confirmed == report.answered >= 1_000
