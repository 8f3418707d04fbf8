"""A handler that asks for another try.

    PYTHONPATH=examples/handlers WORKER_HANDLER=retrying:create session-worker run

The request waits in Postgres meanwhile, not in this process: it holds no call, and a restart loses nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from session_worker.handlers import Context, RetryLater
from session_worker.schemas import CreateSessionRequest

FREE = ["blue", "green"]  # stands for a service of yours
TAKEN: dict[str, str] = {}


async def create(_request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
    if context.session_id not in TAKEN:
        if not FREE:
            # The reason is yours, and is shown to people: no secret, no name of a customer. Without `after`
            # the delay grows from one attempt to the next.
            raise RetryLater(after=timedelta(seconds=2), reason="no room is free")
        TAKEN[context.session_id] = FREE.pop()
    return {"room": TAKEN[context.session_id], "attempt": context.attempt}
