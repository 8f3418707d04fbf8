"""Lists the contenders: how each is started and tuned, and what it leaves out of this worker's work."""

import sys
from types import MappingProxyType
from typing import NamedTuple

PYTHON = sys.executable
THIS_WORKER = (PYTHON, "-m", "worker", "run")
HOOK_SECONDS, HOOK_CALLS = 0.2, 100
_NO_RECOVERY = (
    "what another worker has begun and left: it comes again and stumbles over the row that is there; the "
    "answer from the record to an id that is known; fences, retries, deadlines, cancellations; an answer to "
    "what is invalid; seals; fair shares; a database that is away"
)


class Contender(NamedTuple):
    name: str
    command: tuple[str, ...]
    share: float  # of the requests: a slow one gets fewer, so that each is timed for seconds
    records: bool = True  # does the durable work, which is checked afterwards
    fills_itself: str = ""  # its own message format: the script that publishes it
    environ: MappingProxyType[str, str] = MappingProxyType({})
    tuning: str = ""
    leaves_out: str = ""


OURS = Contender(
    "this worker", THIS_WORKER, 1.0,
    tuning="as it comes: uvloop, prefetch 512, 3 batches of 128, a pool of 4", leaves_out="nothing",
)  # fmt: skip
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
    tuning="as it comes, with a handler",
    leaves_out="nothing",
)
ECHO = Contender(
    "aio-pika echo, no database", (PYTHON, "echo_peer.py"), 0.5, records=False,
    environ=MappingProxyType({"BENCH_PREFETCH": "500"}),
    tuning="uvloop, prefetch 500, a channel for publishes and one for acknowledgements, all that is in hand "
    "at once; the library has no batches",
    leaves_out="the database and all that is said of a request: it sends the body back as it came",
)  # fmt: skip
FLOOR = Contender(
    "aiormq in batches, no database", (PYTHON, "floor_peer.py"), 1.0, records=False,
    tuning="uvloop, prefetch 512, batches of 128 through this worker's publisher, one acknowledgement for "
    "each batch",
    leaves_out="the same",
)  # fmt: skip
PEERS_WITH_RECORD = (
    Contender(
        "FastStream + asyncpg", (PYTHON, "faststream_peer.py"), 0.1,
        environ=MappingProxyType({"BENCH_PREFETCH": "100", "BENCH_POOL": "10"}),
        tuning="uvloop, prefetch 100 on one channel, which is how many run at once; confirms on; a pool of "
        "10; no log, no declaration of queues; it has no batches for RabbitMQ",
        leaves_out=_NO_RECOVERY,
    ),
    Contender(
        "Taskiq + asyncpg",
        (PYTHON, "-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", "1",
         "--max-async-tasks", "100", "--ack-type", "when_executed", "--log-level", "ERROR"),
        0.1, fills_itself="taskiq_peer.py",
        environ=MappingProxyType({"BENCH_PREFETCH": "100", "BENCH_POOL": "10"}),
        tuning="uvloop, one process, 100 tasks at once, prefetch 100, no result backend, acknowledged when "
        "executed; a pool of 10; confirms on a connection of its own",
        leaves_out=f"{_NO_RECOVERY}; a task that fails is acknowledged",
    ),
    Contender(
        "Celery + psycopg, 4 processes", (PYTHON, "celery_peer.py", "run"), 0.1,
        fills_itself="celery_peer.py",
        tuning="prefork, 4 processes, prefetch multiplier 64 as its guide says for short tasks, late "
        "acknowledgement, no results, no gossip, no mingle; a pool of producers; prepared statements",
        leaves_out=f"{_NO_RECOVERY}; a task that fails is acknowledged",
    ),
    Contender(
        "Dramatiq + psycopg, 4 processes of 8 threads",
        (PYTHON, "-m", "dramatiq", "dramatiq_peer", "--processes", "4", "--threads", "8"), 0.1,
        fills_itself="dramatiq_peer.py",
        environ=MappingProxyType({"dramatiq_queue_prefetch": "64"}),
        tuning="4 processes of 8 threads, prefetch 64 for each process, a channel in confirm mode for each "
        "thread; prepared statements",
        leaves_out=f"{_NO_RECOVERY}; a task that fails goes to its dead letters",
    ),
)  # fmt: skip
CONTENDERS = (
    OURS,
    OURS._replace(
        name="this worker, 2 processes",
        command=(*THIS_WORKER, "--processes", "2"),
        tuning="as it comes, twice",
    ),
    SLOW_HOOK,
    *PEERS_WITH_RECORD,
    ECHO,
    FLOOR,
)
