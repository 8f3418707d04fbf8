-- What the elected worker asks, on a connection of its own; `is_vacant`, which all ask, is in queries.sql.

-- name: bounds
-- Nothing here may wait long. And a worker that asks nothing any more, since it is frozen, loses its connection and
-- with it the lock.
set lock_timeout = '1s';
set idle_session_timeout = '20s';
set statement_timeout = '5s'

-- name: elect
select pg_try_advisory_lock($1, hashtext(current_schema()))

-- name: bounds_of_the_holder
-- The same for who holds a transaction open.
set lock_timeout = '1s';
set idle_in_transaction_session_timeout = '20s';
set statement_timeout = '5s'

-- name: elect_pooled
-- For as long as its transaction is open, which has written nothing and sees nothing: it keeps no vacuum from its work.
select pg_try_advisory_xact_lock($1, hashtext(current_schema()))

-- name: ask
select

-- name: lock_wait
-- For how many seconds a statement of this database has waited for a lock, the longest one; advisory locks are for
-- waiting.
select coalesce(extract(epoch from max(clock_timestamp() - waitstart)), 0)::double precision
from pg_locks
where not granted and locktype <> 'advisory'
  and pid in (select pid from pg_stat_activity where datname = current_database())

-- name: oldest_unfinished
-- For how many seconds the oldest request has been on record unfinished: under a lease, put off, or in line since it
-- could have begun.
select coalesce(greatest(0, extract(epoch from clock_timestamp() - min(since))), 0)::double precision
from (
  select min(r.received_at) as since from leases l join requests r on r.lease = l.id where r.finished_at is null
  union all
  select min(received_at) from requests where due_at is not null and waits_in is null
  union all
  select min(begins_at) from requests where waits_in is not null and begins_at <= now()
) as unfinished

-- name: table_bytes
-- With its partitions.
select
  c.relname as name,
  pg_total_relation_size(c.oid) + coalesce((
    select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = c.oid
  ), 0)::bigint as bytes
from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition

-- name: answered
-- What each worker has answered since its start, by how long it took.
select id, answered from workers where answered is not null

-- name: measure
-- Adds a row to the course of the last hours, and takes away those that nobody looks at any more.
with old as (
  delete from measures where at < now() - make_interval(secs => $1)
), counted as (
  select
    coalesce(sum(number) filter (where status in ('pending', 'processing')), 0) as unfinished,
    coalesce(sum(number) filter (where status = 'completed'), 0) as completed,
    coalesce(sum(number) filter (where status = 'failed'), 0) as failed
  from (
    select status, number from request_totals union all select status, number from unfolded_changes
  ) as kept
)
insert into measures (
  unfinished, completed, failed, answered, queued, unread, dead, oldest, due, overdue, waiting, unanswered, builds
)
select
  unfinished, completed, failed, $2::bigint[], $3::integer, $4::integer, $5::integer, $6::double precision, $7::integer,
  $8::double precision, $9::jsonb, $10::integer, array(
    select distinct coalesce(nullif(handler, ''), 'built-in') || coalesce('@' || handler_build, '') from workers
    where handler is not null and heartbeat > now() - interval '1 minute' order by 1 limit 20
  )
from counted
on conflict (at) do nothing
