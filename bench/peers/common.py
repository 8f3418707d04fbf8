"""Every peer does the same durable work for a request as this worker, written as one would by hand.

Three committed transitions (pending, processing, completed), the session, the stored response. What differs
between the peers is who consumes, publishes and settles, and how.
"""

import json
import os
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from schemas import (
    CreateSessionRequest,
    CreateSessionResponse,
    RequestStatus,
    SessionCreatedPayload,
    session_id,
)

AMQP_URL = os.environ.get("AMQP_URL", "")
DATABASE_URL = os.environ.get("DATABASE_URL", "")
QUEUE = os.environ.get("BENCH_QUEUE", "")
RESPONSES = os.environ.get("BENCH_RESPONSES", "")  # an exchange
PREFETCH = int(os.environ.get("BENCH_PREFETCH", "100"))
POOL = int(os.environ.get("BENCH_POOL", "10"))

ACCEPT = """
insert into requests (request_id, org_id, user_id, fingerprint, body, session_id)
values (%s, %s, %s, %s, %s, %s) on conflict (request_id) do nothing
"""
CLAIM = """
update requests set status = 'processing', attempt = 1, started_at = now()
where request_id = %s and status = 'pending'
"""
SESSION = """
insert into sessions (id, request_id, org_id, user_id, name, status, expiration_seconds,
  created_at, updated_at, expires_at, document)
values (%s, %s, %s, %s, %s, 'active', %s, %s, %s, now() + interval '1 day', %s)
"""
FINISH = """
update requests set status = 'completed', response = %s, finished_at = now()
where request_id = %s and status = 'processing' and attempt = 1
"""


class Task(NamedTuple):
    """A request and everything that is written about it."""

    request_id: UUID
    accept: tuple[object, ...]
    claim: tuple[object, ...]
    session: tuple[object, ...]
    finish: tuple[object, ...]
    response: bytes


def prepare(body: bytes | str | dict[str, object]) -> Task:
    """Validates the request, and makes the session and the response."""
    document = body if isinstance(body, dict) else json.loads(body)
    request = CreateSessionRequest.model_validate(document)
    now = datetime.now(UTC)
    made = session_id(request.request_id, now.date())
    payload = request.payload.model_dump_json(exclude_unset=True)
    response = CreateSessionResponse(
        request_id=request.request_id,
        status=RequestStatus.COMPLETED,
        payload=SessionCreatedPayload(session_id=made, created_at=now.isoformat()),
        timestamp=now.isoformat(),
    ).model_dump_json()
    one = request.request_id
    name, lifetime = request.payload.name, request.payload.expiration_seconds or 86_400
    stored = request.model_dump_json(exclude_unset=True)
    return Task(
        one,
        (one, request.org_id, request.user_id, b"bench", stored, made),
        (one,),
        (made, one, request.org_id, request.user_id, name, lifetime, now, now, payload),
        (response, one),
        response.encode(),
    )


def numbered(statement: str) -> str:
    """Rewrites a statement for asyncpg, which wants $1, $2 …"""
    parts = statement.split("%s")
    return "".join(f"{part}${index}" for index, part in enumerate(parts[:-1], 1)) + parts[-1]
