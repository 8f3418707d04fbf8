"""Lists the contenders, and how each is started."""

import sys
from types import MappingProxyType
from typing import NamedTuple

PYTHON = sys.executable
THIS_WORKER = (PYTHON, "-m", "worker", "run")
HOOK_SECONDS, HOOK_CALLS = 0.2, 100


class Contender(NamedTuple):
    name: str
    command: tuple[str, ...]
    share: float  # of the requests: a slow one gets fewer, so that each is timed for seconds
    records: bool = True  # does the durable work, which is checked afterwards
    fills_itself: str = ""  # its own message format: the script that publishes it
    environ: MappingProxyType[str, str] = MappingProxyType({})


SLOW_HOOK = Contender(
    f"this worker, a hook of {HOOK_SECONDS * 1000:.0f} ms, {HOOK_CALLS} at once",
    THIS_WORKER,
    0.2,
    environ=MappingProxyType(
        {
            "WORKER_HANDLER": "slow_hook:create",
            "WORKER_HANDLER_CONCURRENCY": str(HOOK_CALLS),
            "BENCH_HOOK_SECONDS": str(HOOK_SECONDS),
        }
    ),
)
CONTENDERS = (
    Contender("this worker", THIS_WORKER, 1.0),
    Contender("this worker, 2 processes", (*THIS_WORKER, "--processes", "2"), 1.0),
    SLOW_HOOK,
    Contender("FastStream + asyncpg", (PYTHON, "faststream_peer.py"), 0.1),
    Contender("Taskiq + asyncpg", (PYTHON, "-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", "1",
              "--max-async-tasks", "100", "--ack-type", "when_executed", "--log-level", "ERROR"),
              0.1, fills_itself="taskiq_peer.py"),
    Contender("Celery + psycopg, 4 processes", (PYTHON, "celery_peer.py", "run"),
              0.1, fills_itself="celery_peer.py"),
    Contender("Dramatiq + psycopg, 4 processes of 8 threads", (PYTHON, "-m", "dramatiq", "dramatiq_peer",
              "--processes", "4", "--threads", "8"), 0.1, fills_itself="dramatiq_peer.py"),
    Contender("aio-pika echo, no database", (PYTHON, "echo_peer.py"), 0.5, records=False),
    Contender("aiormq in batches, no database", (PYTHON, "floor_peer.py"), 1.0, records=False),
)  # fmt: skip
