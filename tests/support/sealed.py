"""Puts requests, sessions and dead letters with sealed secrets on record."""

import base64
import json
import os
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
from pamqp import commands as spec

from worker.messages.custody import Letter, letter_of
from worker.messages.envelope import Message
from worker.messages.sealing import SealKeys, parse_seal_keys

CANARY = "conspicuous-token"
State = Literal["completed", "leased", "put off", "waiting"]
INSERT = """
insert into requests (
  request_id, status, attempt, org_id, fingerprint, body, session_id, started_at, lease, due_at, waits_in,
  waits_for, begins_at, received_at
)
select
  $1::uuid, case $2 when 'waiting' then 'pending' else 'processing' end,
  case $2 when 'waiting' then 0 else 1 end, 'o', $3::bytea, $4::text, 'ts_' || $1::text,
  case $2 when 'waiting' then null else now() end, case $2 when 'leased' then 7 end,
  case $2 when 'put off' then now() end, case $2 when 'waiting' then 'o' end,
  case $2 when 'waiting' then 'paused' end, case $2 when 'waiting' then now() end,
  now() - coalesce($5::interval, '0')
"""
FINISH = """
update requests set status = 'completed', response = '{}', finished_at = now() - coalesce($2::interval, '0')
where request_id = $1
"""
SESSION = """
insert into sessions (
  id, request_id, org_id, status, expiration_seconds, created_at, updated_at, expires_at, document
)
select 'ts_' || id, id, 'o', 'active', 60, now(), now(), now(), $2::jsonb from (select $1::uuid as id) as its
"""
LETTER = "insert into dead_letters ({}) values ({})"


def ring(*names: str) -> SealKeys:
    """Returns keys of these names, the same each time."""
    return parse_seal_keys(ring_text(*names))


def ring_text(*names: str) -> str:
    return ",".join(f"{name}:{base64.b64encode(name.ljust(32, '.').encode()).decode()}" for name in names)


def strange_ring(*names: str) -> SealKeys:
    """Returns other keys of these names."""
    return parse_seal_keys(",".join(f"{name}:{base64.b64encode(os.urandom(32)).decode()}" for name in names))


def payload_with(token: str | None, **more: Any) -> dict[str, Any]:
    number = {"phone_number": {"twilio_auth_token": token}} if token else {}
    return {"name": "größe", **number, **more}


async def put_request(
    db: asyncpg.Connection,
    keys: SealKeys | None,
    state: State = "completed",
    *,
    ago: Any = None,
    payload: dict[str, Any] | None = None,
) -> UUID:
    """Puts a request there, with a token of its own. Without keys it has no secret."""
    request_id = uuid4()
    plain = payload_with(f"{CANARY}-{request_id}" if keys else None) if payload is None else payload
    sealed = keys.seal_document(plain, request_id) if keys else plain
    mark = keys.fingerprint("{}", has_secrets=True) if keys else b"plain:0123456789abcdef"
    body = {"org_id": "o", "operation": "create_session", "payload": sealed}
    if state == "leased":
        await db.execute(
            "insert into leases (id, lease_until) values (7, now() + interval '1 h') on conflict do nothing"
        )
    await db.execute(INSERT, request_id, state, mark, json.dumps(body), ago)
    if state == "completed":
        await db.execute(FINISH, request_id, ago)
    return request_id


async def put_session(db: asyncpg.Connection, request_id: UUID, keys: SealKeys | None, **more: Any) -> None:
    plain = payload_with(f"{CANARY}-{request_id}" if keys else None, **more)
    document = keys.seal_document(plain, request_id) if keys else plain
    await db.execute(SESSION, request_id, json.dumps(document))


async def put_dead_letter(db: asyncpg.Connection, body: bytes, keys: SealKeys) -> UUID:
    message = Message(body=body, properties=spec.Basic.Properties(), taken_by_broker=None)
    letter: Letter = letter_of(message, keys, datetime.now(UTC))
    places = ", ".join(f"${number}" for number in range(1, len(letter) + 1))
    await db.execute(LETTER.format(", ".join(Letter._fields), places), *letter)
    return letter.id
