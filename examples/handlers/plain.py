"""A handler that makes something of its own for each session.

    PYTHONPATH=examples/handlers WORKER_HANDLER=plain:create session-worker run

What it returns is added to the `metadata` of the response.
"""

from collections.abc import Mapping
from typing import Any

from session_worker.handlers import Context
from session_worker.schemas import CreateSessionRequest

ROOMS: dict[str, str] = {}  # stands for a database of yours


async def create(request: CreateSessionRequest, context: Context) -> Mapping[str, Any]:
    """It may be called again for the same request: the session id, the same each time, is the key."""
    room = ROOMS.setdefault(context.session_id, f"{request.org_id}/{len(ROOMS) + 1}")
    return {"room": room}
