"""`python -m bench` measures this worker beside its peers and under strain, on servers of its own.

python -m bench                                   every suite, as in docs/performance.md: over an hour
python -m bench throughput                        the table of the peers
python -m bench throughput --rounds 1 --only "this worker" "aio-pika echo, no database"
python -m bench latency flood                     some of the suites
python -m bench retries --requests 10000 --rate 100 --seconds 40
python -m bench flat --queued 100000 --rows 1000000
python -m bench finding --rows 100000             lists, searches and counts on a full database
python -m bench tracing                           what traces cost: off, 1 % and all of the requests
python -m bench counting                          what it costs to keep the counts: about ten minutes
python -m bench postgres                          bytes and processor time of Postgres for a request
python -m bench screens                           what ten open screens of the console cost the worker
python -m bench sizing                            nine points, and what the simulation says: eight minutes
python -m bench shards --rounds 2                 one queue, two shards, four: four minutes
python -m bench held-back                         a transaction that nobody ends: half an hour
python -m bench fairness                          about ten minutes
python -m bench fairness --quick                  small, to see that it works; nothing is saved
python -m bench fairness --before ../as-it-was    only its throughput, beside that of another checkout
"""

import argparse
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import (
    cost_in_postgres,
    counting,
    fairness,
    finding,
    flat,
    flood,
    held_back,
    latency,
    retries,
    screens,
    sharded,
    sizing,
    throughput,
    tracing,
)
from bench.stage import Servers, say
from worker.rabbitmq import eager_reading
from worker.stack import local_stack

SUITES = (
    throughput.SUITE, latency.SUITE, flood.SUITE, flat.SUITE, retries.SUITE, fairness.SUITE, finding.SUITE,
    tracing.SUITE,
    counting.SUITE,
    cost_in_postgres.SUITE,
    screens.SUITE,
    sizing.SUITE,
    sharded.SUITE,
    held_back.SUITE,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; or all")
    parser.add_argument("--requests", type=int, default=20_000, help="for the fastest; the slow get a share")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these contenders alone")
    parser.add_argument("--flood", type=int, default=100_000, help="requests at once while Postgres is slow")
    parser.add_argument("--queued", type=int, default=1_000_000, help="the long queue")
    parser.add_argument("--rows", type=int, default=10_000_000, help="the full table, of flat and finding")
    parser.add_argument("--pairs", type=int, default=40, help="rounds with and without; screens: a quarter")
    parser.add_argument("--rate", type=float, default=100, help="requests a second that each ask for a retry")
    parser.add_argument("--seconds", type=float, default=40, help="for so long")
    parser.add_argument("--load", type=float, default=2000, help="held-back: requests a second")
    parser.add_argument("--minutes", type=float, default=10, help="held-back: for so long")
    parser.add_argument("--quick", action="store_true", help="fairness: small sizes, and nothing is saved")
    parser.add_argument(
        "--before",
        type=Path,
        metavar="CHECKOUT",
        help="fairness: only throughput, in turn with this other checkout's",
    )
    given = parser.parse_args()
    if unknown := set(given.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if given.before and not (given.before / "worker" / "__main__.py").is_file():
        parser.error(f"{given.before} is no checkout of this project: it has no worker/__main__.py")
    uvloop.run(_run(given))
    return 0


async def _run(given: argparse.Namespace) -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # queues are deleted under its consumers here
    eager_reading.read_eagerly()
    async with local_stack(say, environ=os.environ) as stack:
        servers = Servers(stack.amqp_url, stack.database_url)
        suites: dict[str, Callable[[], Awaitable[str]]] = {
            throughput.SUITE: lambda: throughput.run(servers, given.requests, given.rounds, given.only),
            latency.SUITE: lambda: latency.run(servers, given.requests),
            flood.SUITE: lambda: flood.run(servers, given.flood),
            retries.SUITE: lambda: retries.run(servers, given.requests, given.rate, given.seconds),
            flat.SUITE: lambda: flat.run(servers, given.requests, given.rounds, given.queued, given.rows),
            fairness.SUITE: lambda: fairness.run(
                servers,
                given.requests,
                given.rounds,
                given.before and given.before.resolve(),
                quick=given.quick,
            ),
            finding.SUITE: lambda: finding.run(servers, given.rows),
            tracing.SUITE: lambda: tracing.run(servers, given.requests, given.rounds),
            counting.SUITE: lambda: counting.run(servers, given.requests // 4, given.pairs),
            cost_in_postgres.SUITE: lambda: cost_in_postgres.run(servers, given.requests),
            screens.SUITE: lambda: screens.run(servers, given.requests, given.pairs // 4),
            sizing.SUITE: lambda: sizing.run(servers, given.requests, given.rounds),
            sharded.SUITE: lambda: sharded.run(servers, given.rounds),
            held_back.SUITE: lambda: held_back.run(servers, given.load, given.minutes),
        }
        for name in given.suites or SUITES:
            say(f"— {name}")
            print(f"\n{await suites[name]()}\n", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
