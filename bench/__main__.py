"""`python -m bench` measures this worker beside its peers and under strain, on servers of its own.

python -m bench                                   every suite, as in docs/performance.md: about an hour
python -m bench throughput                        the table of the peers
python -m bench throughput --rounds 1 --only "this worker" "aio-pika echo, no database"
python -m bench latency flood                     some of the suites
python -m bench retries --requests 10000 --rate 100 --seconds 40
python -m bench flat --queued 100000 --rows 1000000
"""

import argparse
import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from bench import flat, flood, latency, retries, throughput
from bench.stage import Servers, say
from worker.rabbitmq import eager_reading
from worker.stack import local_stack

SUITES = (throughput.SUITE, latency.SUITE, flood.SUITE, flat.SUITE, retries.SUITE)


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
    parser.add_argument("--rows", type=int, default=10_000_000, help="the full table")
    parser.add_argument("--rate", type=float, default=100, help="requests a second that each ask for a retry")
    parser.add_argument("--seconds", type=float, default=40, help="for so long")
    given = parser.parse_args()
    if unknown := set(given.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    asyncio.run(_run(given))
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
        }
        for name in given.suites or SUITES:
            say(f"— {name}")
            print(f"\n{await suites[name]()}\n", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
