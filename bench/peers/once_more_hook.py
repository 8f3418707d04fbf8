"""A handler that asks for one retry of each request, as one does whose service is busy now and then."""

import os

from worker.handlers import Context, RetryLater

SECONDS = float(os.environ.get("BENCH_RETRY_SECONDS", "1"))


async def create(_request: object, context: Context) -> None:
    if context.attempt == 1 and SECONDS >= 0:
        raise RetryLater(SECONDS, "not at the first time")
