"""A worker holds a limited number of bytes, however large the messages are and however long it holds them.

`BODY_MIB=16 HELD_MIB=64 pytest tests/faults/test_bytes_in_hand.py` takes the largest messages that there are.
"""

import asyncio
import os
import re
from pathlib import Path

import pytest
from support.faults.processes import WorkerProcess, worker_processes
from support.faults.scene import Scene
from support.harness import Desk, declare_topology, eventually, good_request, metric_of, response_in
from support.servers import Faulty

from worker.postgres.migrate import migrate
from worker.settings import Settings

MIB = 1 << 20
MESSAGES = 80
BODY = int(os.environ.get("BODY_MIB", "2")) * MIB - 4096
HELD = int(os.environ.get("HELD_MIB", "16")) * MIB

pytestmark = pytest.mark.timeout(900)  # the largest take their time to be read


def peak_bytes(worker: WorkerProcess) -> int:
    """Returns the most memory that the process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) << 10


async def test_large_messages_do_not_fill_the_memory_while_postgres_is_frozen(
    settings: Settings, desk: Desk, postgres: Faulty
) -> None:
    await migrate(postgres.url)
    await declare_topology(settings)
    more = {"WORKER_PREFETCH_BYTES": str(HELD), "WORKER_MAX_BODY_BYTES": str(16 * MIB)}
    scene = Scene(settings.amqp_url.get_secret_value(), postgres.url, desk.prefix, more=more)
    async with worker_processes(1, scene.environ) as [worker]:
        before = peak_bytes(worker)
        await postgres.freeze()
        sent = [good_request() | {"metadata": {"padding": "x" * BODY}} for _ in range(MESSAGES)]
        for request in sent:
            await desk.send(request)

        async def all_arrived() -> tuple[float, float] | None:
            """Says how much is held and how many were shed, once the worker has read all of them."""
            held = await metric_of(worker, "worker_held_bytes") or 0
            shed = await metric_of(worker, "worker_shed_deliveries_total") or 0
            return (held, shed) if held // BODY + shed >= MESSAGES else None

        held, shed = await eventually(all_arrived, 120)
        await worker.event("intake.full")
        grown = peak_bytes(worker) - before
        print(f"held {held / MIB:.0f} MiB, shed {shed:.0f}, grown by {grown / MIB:.0f} MiB while frozen")
        await postgres.thaw()
        answers: dict[str, str] = {}
        while len(answers) < len(sent):  # a second copy may come
            answer = response_in(await asyncio.wait_for(desk.arrived.get(), 120))
            answers[str(answer.request_id)] = answer.status
        print(f"grown by {(peak_bytes(worker) - before) / MIB:.0f} MiB in all")

    most = HELD * 3 // 4  # a quarter is left to light ones
    assert most - BODY <= held <= most
    assert shed > MESSAGES // 2
    assert grown < MESSAGES * BODY // 2, f"{grown >> 20} MiB"
    assert answers == {request["request_id"]: "completed" for request in sent}
