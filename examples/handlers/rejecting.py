"""A handler that refuses what will never succeed.

    PYTHONPATH=examples/handlers WORKER_HANDLER=rejecting:create session-worker run

The answer is `failed` with the code `rejected`, at once and for good: the requester reads the reason.
"""

from session_worker.handlers import Context, Rejected
from session_worker.schemas import CreateSessionRequest

LONGEST_SECONDS = 3600


async def create(request: CreateSessionRequest, _context: Context) -> None:
    seconds = request.payload.expiration_seconds
    if seconds is not None and seconds > LONGEST_SECONDS:
        raise Rejected(f"expiration_seconds: at most {LONGEST_SECONDS} here")
