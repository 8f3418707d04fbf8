-- What the checks of worker/operations/doctor ask, a section for each of its parts. They only look.

-- Of the server.

-- Of the tables.

-- Of requests.

-- Of workers, settings and keys.

-- name: workers_seen
-- The workers that have been heard of since some time, or hold requests, as they started. $1: the lease of those of an
-- older version, which do not say.
select * from (
  select
    w.host || ':' || w.pid as place, w.version, w.handler, w.handler_build, w.settings, w.started_at,
    extract(epoch from now() - w.heartbeat)::double precision as silent_seconds,
    w.heartbeat > now() - make_interval(
      secs => coalesce((w.settings ->> 'lease_seconds')::double precision, $1) / 2
    ) as lives,
    (
      select count(*) from leases l join requests r on r.lease = l.id
      where l.worker = w.id and r.finished_at is null
    ) as in_hand
  from workers w
) as each_one
where silent_seconds < $2::double precision or in_hand > 0
order by started_at, place

-- name: handler_times
-- Of the newest requests: how many calls for them took too long, how many have ended with
-- their first attempt, and how long these took.
with newest as (
  select request_id, case when attempt = 1 then finished_at - started_at end as took
  from requests order by received_at desc limit $1::integer
)
select
  count(*) as looked, count(took) as ended,
  coalesce(extract(epoch from percentile_cont(0.99) within group (order by took)), 0)::double precision as p99,
  (
    select count(*) from attempts a where a.request_id = any (array(select request_id from newest)) and a.kind = 'timeout'
  ) as timeouts
from newest
