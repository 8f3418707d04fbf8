-- What the worker asks that sends events, on the connection that it is elected by.

-- name: next_events
-- The oldest events that are not sent, of at most so many statements, in order; and deletes those that were sent ($1).
-- What was committed late has a lower number than others before it, and is found all the same.
with sent as (
  delete from unsent_events where number = any ($1::bigint[])
), next as (
  select * from unsent_events where number <> all ($1::bigint[]) order by number limit $2
)
select
  next.number as part_of, event.number, request_id, kind, attempt, org_id, code, reason, until, next.at,
  extract(epoch from clock_timestamp() - next.at)::double precision as age
from next cross join lateral unnest(numbers, request_ids, kinds, attempts, orgs, codes, reasons, untils)
  as event (number, request_id, kind, attempt, org_id, code, reason, until)
order by next.number, event.number
