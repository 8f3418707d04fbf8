"""Says of the lines in Postgres what has to hold at every moment."""

import asyncpg

# A line of which something may begin is awake, or sleeps for no longer than its reason holds.
OVERLOOKED = """
select r.request_id, r.waits_in, r.begins_at, now() as now, l.*
from requests r
left join lines l on l.org_id = r.waits_in
left join lateral limit_of(r.waits_in) as of_it on true
where r.waits_in is not null and not case
  when l.org_id is null then false
  when l.asleep_until is null or l.asleep_until <= now() then true
  when l.asleep_for = 'not_before' then l.asleep_until <= r.begins_at
  when l.asleep_for = 'paused' then exists (
    select from pauses p
    where p.scope = 'org' and p.name = l.org_id and coalesce(p.ends_at, 'infinity') >= l.asleep_until
  )
  when l.asleep_for = 'running' -- perhaps since this statement began: now() would be too early
    then of_it.running is not null and l.asleep_until <= clock_timestamp() + interval '1 second'
  when l.asleep_for = 'rate' then of_it.rate is not null and l.asleep_until <= l.full_at
end
"""
OVER_LIMIT = """
select l.org_id, count(*) as running, of_it.running as most
from (select distinct runs_in as org_id from requests where runs_in is not null) as l
join requests r on r.runs_in = l.org_id
cross join lateral limit_of(l.org_id) as of_it
where of_it.running is not null
group by l.org_id, of_it.running
having count(*) > of_it.running
"""


async def overlooked(db: asyncpg.Connection) -> list[asyncpg.Record]:
    """Return the requests that nobody would begin although they may."""
    return list(await db.fetch(OVERLOOKED))


async def over_limit(db: asyncpg.Connection) -> list[asyncpg.Record]:
    """Return the organisations of which more is running than their limit lets."""
    return list(await db.fetch(OVER_LIMIT))
