-- How workers share out the shards among themselves.

-- name: known_shards
-- How many there are, the request queue included.
select coalesce(max(number), 1)::integer as known from shards

-- name: add_shards
-- Enters so many of them. It is done before a request can get there: who reads them goes by this.
insert into shards (number) select generate_series(2, $1::integer) on conflict do nothing

-- name: hold_shards
-- Holds the place of this worker for some seconds more; returns all who hold one, in the order in which they started.
-- $1: its id; $2: over how many it spreads; $3: what it reads; $4: for how long.
with mine as (
  insert into shard_readers (worker, started_at, spread, serves, holds_until)
  select
    $1::uuid, coalesce((select started_at from workers where id = $1::uuid), now()), $2::smallint, $3::smallint[],
    now() + make_interval(secs => $4::double precision)
  on conflict (worker) do update set
    spread = excluded.spread, serves = excluded.serves, holds_until = excluded.holds_until
  returning worker, started_at, spread, serves
), gone as (
  delete from shard_readers where worker <> $1 and holds_until < now() - interval '1 hour'
)
select worker, spread, serves, (select coalesce(max(number), 1)::integer from shards) as known
from (
  select * from mine
  union all
  select worker, started_at, spread, serves from shard_readers where worker <> $1 and holds_until > now()
) as readers
order by started_at, worker

-- name: leave_shards
delete from shard_readers where worker = $1

-- name: shards_seen
-- How many shards there are, and which of them somebody reads.
select
  (select coalesce(max(number), 1)::integer from shards) as known,
  (select coalesce(array_agg(distinct number), '{}')
   from shard_readers, unnest(serves) as number where holds_until > now()) as served
