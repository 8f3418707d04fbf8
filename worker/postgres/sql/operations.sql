-- What operators ask for and do: the statements of worker/operations, a section for each of its modules.

-- Of finding.

-- name: place_of
-- Where a request stands in each order.
select
  received_at, extract(epoch from finished_at)::double precision as finished,
  extract(epoch from took)::double precision as took
from listed_requests where request_id = $1

-- name: matching
-- Requests that match, at most so many, the last ones first; how many were looked at for them, which was the last of
-- those, and how many match. $1: which index leads to them; only its part is carried out. $2 to $6 are what that one
-- goes by, and $7 is how many are looked at. The rest has to be true of what was looked at.
-- $4, $5: no later than this one, which is not among them. $22: the order, in which $19 and $20 were shown last.
with looked as (
  (
    select l.* from listed_requests l
    where $1::text = 'newest' and l.received_at between $3::timestamptz and $4::timestamptz
      and (l.received_at < $4 or l.request_id < $5::uuid)
    order by l.received_at desc, l.request_id desc limit $7::integer
  )
  union all
  (
    select l.* from listed_requests l
    where $1 = 'org' and l.org_id = $2::text and l.received_at between $3 and $4
      and (l.received_at < $4 or l.request_id < $5)
    order by l.received_at desc, l.request_id desc limit $7
  )
  union all
  (
    select l.* from listed_requests l
    where $1 = 'failed' and l.code is not null and l.received_at between $3 and $4
      and (l.received_at < $4 or l.request_id < $5)
    order by l.received_at desc, l.request_id desc limit $7
  )
  union all
  (
    select l.* from listed_requests l
    where $1 = 'failed_of_org' and l.code is not null and l.org_id = $2 and l.received_at between $3 and $4
      and (l.received_at < $4 or l.request_id < $5)
    order by l.received_at desc, l.request_id desc limit $7
  )
  union all
  (
    select l.* from listed_requests l
    where $1 = 'code' and l.code = $6::text and l.received_at between $3 and $4
      and (l.received_at < $4 or l.request_id < $5)
    order by l.received_at desc, l.request_id desc limit $7
  )
  union all
  (select l.* from listed_requests l where $1 = 'correlation' and l.correlation_id = $6 limit $7)
  union all
  (
    select l.* from listed_requests l
    where $1 = 'session' and l.request_id = any (array(
      select request_id from sessions where id = $6
      union all
      select request_id from requests where session_id = $6 and error_code is not null
    ))
  )
  union all
  (select l.* from listed_requests l where $1 = 'waiting' and l.waits_in is not null limit $7)
  union all
  (select l.* from listed_requests l where $1 = 'waiting_of_org' and l.waits_in = $2 limit $7)
  union all
  (select l.* from listed_requests l where $1 = 'retrying' and l.due_at is not null limit $7)
  union all
  (
    select l.* from leases join listed_requests l on l.lease = leases.id
    where $1 = 'processing' limit $7
  )
), matched as (
  select l.*, coalesce(case $22::text
    when 'finished' then extract(epoch from l.finished_at)
    when 'took' then extract(epoch from l.took)
    else extract(epoch from l.received_at)
  end, '-infinity')::double precision as place
  from looked l
  where l.received_at between $3 and $4 and (l.received_at < $4 or l.request_id < $5)
    and ($2 is null or l.org_id = $2)
    and ($8::text is null or l.user_id = $8)
    and ($9::text is null or l.state = $9)
    and ($10::text is null or l.code = $10)
    and ($11::text is null or l.worker::text = $11 or l.worker = any (array(
      select id from workers where host || ':' || pid = $11
    )))
    and ($12::text is null or l.worker = any (array(select id from workers where handler_build = $12)))
    and ($13::text is null or l.session_id = $13)
    and ($14::text is null or l.correlation_id = $14)
    and ($15::text is null or l.reply_to = $15)
    and ($16::text is null or l.delivered = $16)
    and ($17::integer is null or l.attempt >= $17)
    and ($18::text is null or strpos(lower(failure_of(l.request_id)), lower($18)) > 0)
)
select
  (select count(*) from looked) as looked,
  (select request_id from looked order by received_at, request_id limit 1) as reached,
  (select count(*) from matched) as matching,
  array(
    select request_id from matched
    where $19::double precision is null or (place, request_id) < ($19, $20::uuid)
    order by place desc, request_id desc limit $21::integer
  ) as found

-- name: listed
-- These requests, in this order, as a list shows them.
select
  l.request_id, l.org_id, l.user_id, l.state as status, l.code, l.attempt, failure_of(l.request_id) as reason,
  l.received_at, l.finished_at, extract(epoch from l.took)::double precision as took_seconds,
  l.delivered as response, l.session_id, l.correlation_id, l.reply_to,
  coalesce(w.host || ':' || w.pid, l.worker::text) as worker, w.handler_build as build
from unnest($1::uuid[]) with ordinality as wanted (request_id, position)
join listed_requests l on l.request_id = wanted.request_id
left join workers w on w.id = l.worker
order by wanted.position

-- name: grouped
-- Why these failed, and by which build.
select 'reason' as by, failure_of(request_id) as name, count(*) as number from unnest($1::uuid[]) as g (request_id)
group by 2 having failure_of(request_id) is not null
union all
select 'build', w.handler_build, count(*) from requests r join workers w on w.id = r.worker
where r.request_id = any ($1) and w.handler_build <> '' group by 2
order by 1, 3 desc, 2

-- name: counts
-- How many there are: of all (null), or of one organisation.
select status, code, sum(number)::bigint as number from (
  select status, code, number from request_totals where $1::text is null
  union all
  select status, code, number from request_counts where org_id = $1
  union all
  select status, code, number from unfolded_changes where $1 is null or org_id = $1
) as kept
group by 1, 2 having sum(number) <> 0

-- name: worker_places
select id, host || ':' || pid as place from workers where id = any ($1::uuid[])

-- name: body_of
select body from requests where request_id = $1

-- name: busiest_orgs
-- The organisations with the most requests, at most so many. What is kept of each is exact; times and the number of
-- those that failed are of the newest requests since some time, at most $2 of all organisations; and at most as many
-- of one are counted as waiting.
with kept as (
  select org_id, status, sum(number)::bigint as number from (
    select org_id, status, number from request_counts
    union all
    select org_id, status, number from unfolded_changes
  ) as each_one group by 1, 2
), of_org as (
  select
    org_id, sum(number) filter (where status = 'completed') as completed,
    sum(number) filter (where status = 'failed') as failed,
    sum(number) filter (where status in ('pending', 'processing')) as unfinished, sum(number) as all_of_it
  from kept group by 1 having sum(number) > 0
), newest as (
  select coalesce(org_id, '') as org_id, code, extract(epoch from took)::double precision as took
  from listed_requests where received_at >= $1 order by received_at desc limit $2::integer
), recent as (
  select
    org_id, count(*) as received, count(code) as failed,
    percentile_cont(0.5) within group (order by took) as p50_seconds,
    percentile_cont(0.99) within group (order by took) as p99_seconds
  from newest group by 1
)
select
  o.org_id as org, coalesce(waiting.number, 0) as waiting,
  coalesce(greatest(o.unfinished - waiting.number, 0), 0)::bigint as running,
  coalesce(o.completed, 0)::bigint as completed, coalesce(o.failed, 0)::bigint as failed,
  coalesce(r.received, 0) as recent, coalesce(r.failed, 0) as recent_failed, r.p50_seconds, r.p99_seconds
from (
  select o.* from of_org o left join recent r using (org_id)
  order by r.received desc nulls last, o.all_of_it desc, o.org_id limit $3::integer
) as o
left join recent r using (org_id)
left join lateral (
  select count(*) as number from (select from requests q where q.waits_in = o.org_id limit $2) as its
) as waiting on true
order by r.received desc nulls last, o.all_of_it desc, o.org_id

-- name: live_workers
-- The workers that have been heard of within a day, and what each has in hand.
select
  w.id, w.host, w.pid, w.version, w.handler, w.handler_build as build, w.started_at,
  extract(epoch from now() - w.heartbeat)::double precision as silent_seconds,
  w.heartbeat > now() - make_interval(
    secs => coalesce((w.settings ->> 'lease_seconds')::double precision, $1) / 2
  ) as lives,
  exists (
    select from pauses p where coalesce(p.ends_at > now(), true)
      and (p.scope = 'all' or (p.scope = 'worker' and p.name = w.id::text))
  ) as paused,
  (
    select count(*) from leases l join requests r on r.lease = l.id
    where l.worker = w.id and r.finished_at is null
  ) as in_hand
from workers w order by w.host, w.pid, w.heartbeat desc
