"""Each statement takes the steps that the law has for it, from wherever a request or a lease may stand."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from worker import law
from worker.postgres.sql import load_queries

QUERIES = load_queries()
ME, OTHER = UUID(int=1), UUID(int=2)
LEASE, LEASE_OF_A_BATCH = 7, 8
Arguments = list[Any]

PUT_REQUEST = """
insert into requests (request_id, status, attempt, fingerprint, body, session_id, lease, received_at,
                      started_at, finished_at, response, error_code)
select $1, $2, $3, '\\x01', '{}', $4, $5, now() - interval '1 h', case when $6 then now() end,
  case when $7 then now() end, case when $7 then '{}' end, case when $8 then 'rejected' end
"""
PUT_LEASE = "insert into leases (id, worker, lease_until, spends_attempt) values ($1, $2, $3, $4)"
IN_LINE = """
update requests set lease = null, waits_in = '', waits_for = 'paused', begins_at = now(), due_at = now(),
  deadline_at = now()
where finished_at is null
"""
LINE = "insert into lines (org_id) values ('') on conflict do nothing"
HISTORY = "select status, attempt from request_transitions where request_id = $1 order by at, attempt"


async def put_request(db: asyncpg.Connection, status: str) -> UUID:
    """Puts a request there, under the lease, without a step."""
    request_id, has = uuid4(), law.STATES[status]
    await db.execute("set session_replication_role = replica")  # triggers are off
    await db.execute(
        PUT_REQUEST, request_id, status, int(has.started), f"ts_{request_id}", LEASE,
        has.started, has.finished, has.error_code,
    )  # fmt: skip
    await db.execute("reset session_replication_role")
    return request_id


async def put_lease(db: asyncpg.Connection, place: str, holder: UUID) -> None:
    hour = timedelta(hours=-1 if place == law.RUN_OUT else 1)
    free = place == law.FREE
    until = datetime.now(UTC) + (timedelta() if free else hour)
    await db.execute(PUT_LEASE, LEASE, None if free else holder, until, not free)


def accept(lease: int, request_ids: list[UUID], confirmed: Sequence[int] = ()) -> Arguments:
    none: list[None] = [None for _ in request_ids]
    texts, sessions = ["{}" for _ in request_ids], [f"ts_{one}" for one in request_ids]
    fingerprints = [b"\1" for _ in request_ids]
    return [
        lease, ME, 60.0,
        request_ids, none, none, fingerprints, texts, none, sessions, none, none, none, none, confirmed,
    ]  # fmt: skip


def wait(request_ids: list[UUID]) -> Arguments:
    none: list[None] = [None for _ in request_ids]
    texts, sessions = ["{}" for _ in request_ids], [f"ts_{one}" for one in request_ids]
    fingerprints, reasons = [b"\1" for _ in request_ids], ["paused" for _ in request_ids]
    return [
        request_ids, none, none, fingerprints, texts, none, sessions, none, none, none, none, reasons, none,
    ]  # fmt: skip


def finish(places: dict[UUID, int]) -> Arguments:
    """Completes every second one, and fails the others."""
    given = list(zip(places.items(), cycle(sorted(law.FINISHED))))
    has = [law.STATES[status] for _, status in given]

    def where(fits: list[bool], value: object) -> list[Any]:
        return [value if there else None for there in fits]

    made = [each.session for each in has]
    return [
        ME, list(places), list(places.values()), [status for _, status in given], ["{}" for _ in given],
        where([each.error_code for each in has], "rejected"),
        [f"ts_{one}" if there else None for one, there in zip(places, made, strict=True)],
        where(made, "org"), where(made, None), where(made, None), where(made, "active"), where(made, None),
        where(made, None), where(made, None), where(made, 60.0), where(made, datetime.now(UTC)),
        where(made, "{}"),
    ]  # fmt: skip


# How to ask for it, of requests with their attempts.
OF_REQUESTS: dict[str, Callable[[dict[UUID, int]], Arguments]] = {
    "accept": lambda places: accept(LEASE, [uuid4(), *places]),
    "begin_pending": lambda places: [ME, list(places)],
    "claim_waiting": lambda _places: [LEASE_OF_A_BATCH, ME, 60.0, 10],
    "claim_again": lambda places: [
        ME, list(places), list(places.values()), LEASE, [None for _ in places], [False for _ in places], "",
    ],
    "finish": finish,
    "retire_requests": lambda _places: [0.0, 100, None],
    "take_due": lambda _places: [LEASE_OF_A_BATCH, ME, 60.0, 10, False],
    "wait": lambda places: wait([uuid4(), *places]),
}  # fmt: skip


@pytest.mark.parametrize("statement", sorted({step.statement for step in law.REQUEST}))
async def test_a_statement_takes_the_steps_of_a_request_that_the_law_has_for_it(
    db: asyncpg.Connection, statement: str
) -> None:
    before = {await put_request(db, status): status for status in law.STATES for _ in range(2)}
    await put_lease(db, law.HELD, ME)
    if statement in ("claim_waiting", "take_due"):
        await db.execute(IN_LINE)
        await db.execute(LINE)
    places = {one: int(law.STATES[status].started) for one, status in before.items()}

    told = {one: len(await db.fetch(HISTORY, one)) for one in before}

    await db.fetch(QUERIES[statement], *OF_REQUESTS[statement](places))

    taken = set()
    after = {row["request_id"] for row in await db.fetch("select request_id from requests")}
    for one in before.keys() | after:
        status, attempt = before.get(one, law.BEGIN), places.get(one, 0)
        for row in (await db.fetch(HISTORY, one))[told.get(one, 0) :]:
            taken.add((status, row["status"], row["attempt"] - attempt))
            status, attempt = row["status"], row["attempt"]
        if one not in after:
            taken.add((status, law.GONE, 0))
    legal = [step for step in law.REQUEST if step.statement == statement]
    assert taken == {(step.before, step.after, step.attempts) for step in legal}


async def test_a_session_is_made_where_the_law_wants_one_and_nowhere_else(db: asyncpg.Connection) -> None:
    places = {await put_request(db, "processing"): 1 for _ in range(4)}

    await db.fetch(QUERIES["finish"], *finish(places))

    found = await db.fetch("select r.status, s.id from requests r left join sessions s using (request_id)")
    assert {(row["status"], row["id"] is not None) for row in found} == {
        (status, status in law.WITH_SESSION) for status in law.FINISHED
    }


# How to ask for it, each way that it has to do with a lease.
OF_LEASES: dict[str, list[Arguments]] = {
    "accept": [accept(LEASE, []), accept(LEASE_OF_A_BATCH, [], confirmed=[LEASE])],
    "claim_waiting": [[LEASE, ME, 60.0, 10]],
    "take_due": [[LEASE, ME, 60.0, 10, False]],
    "heartbeat": [[ME, "host", 1, "1", 60.0, [LEASE], None, None, None, [0, 1], None]],
    "note": [[[], [LEASE], ME, []], [[], [], ME, [LEASE]]],
    "sign_off": [[ME]],
    "take_over": [[ME, 60.0, 10, datetime.now(UTC) + timedelta(days=365), []]],  # no run takes so long
}


@pytest.mark.parametrize("statement", sorted({step.statement for step in law.LEASE if step.by != law.TIME}))
async def test_a_statement_takes_the_steps_of_a_lease_that_the_law_has_for_it(
    db: asyncpg.Connection, statement: str
) -> None:
    await put_request(db, "processing")
    taken: dict[UUID, set[tuple[str, str]]] = {ME: set(), OTHER: set()}

    for holder, steps in taken.items():
        for place in (law.BEGIN, law.HELD, law.RUN_OUT, law.FREE):
            if place == law.BEGIN and holder == OTHER:
                continue  # it is nobody's
            for arguments in OF_LEASES[statement]:
                await db.execute("delete from leases")
                await db.execute(IN_LINE)
                await db.execute(LINE)
                if place != law.BEGIN:
                    await put_lease(db, place, holder)
                before = await db.fetchrow("select * from leases where id = $1", LEASE)

                await db.fetch(QUERIES[statement], *arguments)

                after = await db.fetchrow("select * from leases where id = $1", LEASE)
                if after != before:
                    steps.add((place, await where_it_stands(db)))

    legal = [step for step in law.LEASE if step.statement == statement]
    assert taken == {
        ME: {(step.before, step.after) for step in legal},
        OTHER: {(step.before, step.after) for step in legal if step.by == law.ANYBODY},
    }


async def where_it_stands(db: asyncpg.Connection) -> str:
    row = await db.fetchrow("select worker, lease_until < now() as due from leases where id = $1", LEASE)
    if row is None:
        return law.GONE
    if row["worker"] is None:
        return law.FREE
    return law.RUN_OUT if row["due"] else law.HELD


async def test_time_lets_a_lease_run_out_that_is_kept_no_longer(db: asyncpg.Connection) -> None:
    await put_lease(db, law.HELD, ME)

    await db.fetch(QUERIES["heartbeat"], ME, "host", 1, "1", 0.0, [LEASE], None, None, None, [], None)

    assert (law.HELD, await where_it_stands(db)) in {
        (step.before, step.after) for step in law.LEASE if step.by == law.TIME
    }
