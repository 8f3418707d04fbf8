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
-- those, and how many match. Of the first $23 of them also what it takes to say why they failed, and by which build: those
-- that may have failed, or an attempt at them, and their workers. $1: which index leads to them; only its part is carried
-- out. $2 to $6 are what that one goes by, and $7 is how many are looked at. The rest has to be true of what was looked at.
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
  (
    select l.* from listed_requests l
    where $1 = 'correlation' and l.correlation_id = $6 and l.correlation_id <> l.request_id::text limit $7
  )
  union all
  (
    select l.* from listed_requests l
    where $1 = 'correlation' and l.correlation_id = $6 and l.request_id = case
      when translate($6, '123456789abcdef', '000000000000000') = '00000000-0000-0000-0000-000000000000' then $6::uuid
    end
  )
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
      select id from known_workers where host || ':' || pid = $11
    )))
    and ($12::text is null or l.worker = any (array(select id from known_workers where handler_build = $12)))
    and ($13::text is null or l.session_id = $13)
    and ($14::text is null or l.correlation_id = $14)
    and ($15::text is null or l.reply_to = $15)
    and ($16::text is null or l.delivered = $16)
    and ($17::integer is null or l.attempt >= $17)
    and ($18::text is null or strpos(lower(failure_of(l.request_id)), lower($18)) > 0)
), chosen as (
  select
    request_id, worker, code is not null or attempt > 1 or finished_at is null as tried,
    row_number() over (order by place desc, request_id desc) as position
  from matched
  where $19::double precision is null or (place, request_id) < ($19, $20::uuid)
  order by place desc, request_id desc limit $21::integer
)
select
  (select count(*) from looked) as looked,
  (select request_id from looked order by received_at, request_id limit 1) as reached,
  (select count(*) from matched) as matching,
  array(select request_id from chosen order by position) as found,
  array(select request_id from chosen where tried and position <= $23::integer) as tried,
  array(select worker from chosen where worker is not null and position <= $23) as workers

-- name: listed
-- These requests, in this order, as a list shows them.
select
  l.request_id, l.org_id, l.user_id, l.state as status, l.code, l.attempt, failure_of(l.request_id) as reason,
  l.received_at, l.finished_at, extract(epoch from l.took)::double precision as took_seconds,
  l.delivered as response, l.session_id, l.correlation_id, l.reply_to,
  coalesce(w.host || ':' || w.pid, l.worker::text) as worker, w.handler_build as build
from unnest($1::uuid[]) with ordinality as wanted (request_id, position)
join listed_requests l on l.request_id = wanted.request_id
left join lateral (select * from known_workers k where k.id = l.worker limit 1) as w on true
order by wanted.position

-- name: grouped
-- Why these failed, and which builds the workers have that had them.
select 'reason' as by, failure_of(request_id) as name, count(*) as number from unnest($1::uuid[]) as g (request_id)
group by 2 having failure_of(request_id) is not null
union all
select 'build', w.handler_build, sum(had.number)::bigint
from (select worker, count(*) as number from unnest($2::uuid[]) as each_one (worker) group by 1) as had
cross join lateral (select handler_build from known_workers k where k.id = had.worker limit 1) as w
where w.handler_build <> '' group by 2
order by 1, 3 desc, 2

-- name: facets
-- What these requests have in common: the most frequent $2 of each kind, and how many there are of it. And when they
-- were received: in which of $5 parts of the time between $3 and $4 (null: the first and the last of them), by state.
with these as materialized (
  select l.org_id, l.code, l.worker, l.state, l.received_at
  from unnest($1::uuid[]) as given (request_id) join listed_requests l on l.request_id = given.request_id
), by_worker as (
  select worker, count(*) as number from these where worker is not null group by 1
), grouped as (
  select 'org' as by, org_id as name, count(*) as number from these where org_id is not null group by 2
  union all
  select 'code', code, count(*) from these where code is not null group by 2
  union all
  select 'worker', coalesce(w.host || ':' || w.pid, b.worker::text), sum(b.number)::bigint
  from by_worker b left join workers w on w.id = b.worker group by 2
  union all
  select 'build', w.handler_build, sum(b.number)::bigint
  from by_worker b join workers w on w.id = b.worker where w.handler_build <> '' group by 2
), ranked as (
  select
    by, name, number, count(*) over (partition by by) as kinds,
    row_number() over (partition by by order by number desc, name) as place
  from grouped
), whole as (
  select
    first_at, last_at,
    greatest(extract(epoch from last_at - first_at)::double precision / $5, 0.001) as width
  from (
    select
      coalesce($3::timestamptz, min(received_at)) as first_at, coalesce($4::timestamptz, max(received_at)) as last_at
    from these
  ) as bounds
), parts as (
  select
    state, first_at, last_at, greatest(0, least($5::integer - 1, floor(
      extract(epoch from received_at - first_at)::double precision / width
    )::integer)) as part
  from these, whole
)
select by, name, number, kinds, null::integer as part, null::timestamptz as first_at, null::timestamptz as last_at, place
from ranked where place <= $2::integer
union all
select 'when', state, count(*), null, part, first_at, last_at, null from parts group by state, part, first_at, last_at
order by by, place

-- name: orgs_like
-- The organisations with the most requests whose name has this in it.
select org_id as name, sum(number)::bigint as number from (
  select org_id, number from request_counts
  union all
  select org_id, number from unfolded_changes
) as kept
where strpos(lower(org_id), lower($1::text)) > 0
group by 1 having sum(number) > 0 order by 2 desc, 1 limit $2::integer

-- name: failures
-- What the last failures in a time have in common: of each of these codes ($1), or of an organisation ($2), $5 at most
-- are looked at. `parts`: in which of $6 parts of the time between $3 and $8 each of a group was received. The $7 largest
-- groups, and as many of those that are muted; `kinds`: how many there are that are not.
with looked as materialized (
  select f.* from unnest($1::text[]) as wanted (code)
  cross join lateral (
    select r.request_id, r.error_code, r.org_id, r.worker, r.received_at, r.response from requests r
    where $2::text is null and r.error_code = wanted.code and r.received_at >= $3::timestamptz
      and r.received_at < $4::timestamptz
    order by r.received_at desc limit $5::integer
  ) as f
  union all
  (
    select r.request_id, r.error_code, r.org_id, r.worker, r.received_at, r.response from requests r
    where r.org_id = $2 and r.error_code is not null and r.received_at >= $3 and r.received_at < $4
    order by r.received_at desc limit $5
  )
), told as (
  select
    l.error_code as code, coalesce(a.reason, left(l.response::json ->> 'error', 500)) as reason, a.place,
    w.handler_build as build, l.request_id, l.org_id, l.received_at, floor(
      extract(epoch from l.received_at - $3)::double precision
      / greatest(extract(epoch from $8::timestamptz - $3)::double precision / $6::integer, 0.001)
    )::integer as part
  from looked l
  left join lateral (
    select reason, place, worker from attempts where request_id = l.request_id order by attempt desc limit 1
  ) as a on true
  left join workers w on w.id = coalesce(a.worker, l.worker)
  where l.error_code = any ($1)
), grouped as (
  select
    code, reason, place, nullif(build, '') as build, count(*) as number, min(received_at) as first_at,
    max(received_at) as last_at, count(distinct org_id) as orgs,
    (array_agg(request_id order by received_at desc))[1] as example, array_agg(part) as parts,
    sum(count(*)) over (partition by code)::bigint as of_code,
    min(min(received_at)) over (partition by code) as code_reached
  from told group by 1, 2, 3, 4
), ranked as (
  select
    g.*, m.id as mute, count(*) filter (where m.id is null) over () as kinds,
    row_number() over (partition by m.id is null order by g.number desc, g.last_at desc, g.code, g.reason) as rank
  from grouped g left join mutes m on m.ends_at > now() and m.code = g.code
    and (m.reason, m.place, m.build) is not distinct from (g.reason, g.place, g.build)
)
select (select count(*) from looked) as looked, (select min(received_at) from looked) as reached, ranked.*
from (select) as once left join ranked on rank <= $7::integer
order by number desc, last_at desc, code, reason

-- Of mutes.

-- name: group_of
-- What a failure has in common with others of its group, as `failures` groups them. No row: it has not failed.
select
  r.error_code as code, coalesce(a.reason, left(r.response::json ->> 'error', 500)) as reason, a.place,
  nullif(w.handler_build, '') as build
from requests r
left join lateral (
  select reason, place, worker from attempts where request_id = r.request_id order by attempt desc limit 1
) as a on true
left join workers w on w.id = coalesce(a.worker, r.worker)
where r.request_id = $1 and r.error_code is not null

-- name: mute
-- Mutes a group of failures, in the place of a mute that is there; does nothing where the end is past. $8: its end; $9:
-- or how long it lasts. Mutes that have ended are cleared away.
with given as (
  select coalesce(now() + $9::interval, $8::timestamptz) as ends_at
), old as (
  select id from mutes where ends_at <= now() and id <> $1::uuid for update skip locked
), gone as (
  delete from mutes using old where mutes.id = old.id
), made as (
  insert into mutes (id, code, reason, place, build, why, muted_by, ends_at)
  select $1, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, ends_at from given where ends_at > now()
  on conflict (id) do update set
    why = excluded.why, muted_by = excluded.muted_by, muted_at = now(), ends_at = excluded.ends_at
  returning *
), noted as (
  insert into audit (who, action, reason, about)
  select
    muted_by, 'failures.mute', why,
    jsonb_build_object('code', code, 'of', reason, 'place', place, 'build', build, 'until', ends_at)
  from made
)
select id, code, reason, place, build, why, muted_by, muted_at, ends_at from made

-- name: unmute
with ended as (
  delete from mutes where id = $1::uuid
  returning id, code, reason, place, build, why, muted_by, muted_at, ends_at, ends_at > now() as held
), noted as (
  insert into audit (who, action, reason, about)
  select
    $2::text, 'failures.unmute', $3::text,
    jsonb_build_object('code', code, 'of', reason, 'place', place, 'build', build, 'muted_by', muted_by)
  from ended where held
)
select * from ended

-- name: mutes
select id, code, reason, place, build, why, muted_by, muted_at, ends_at from mutes where ends_at > now()
order by ends_at, id

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

-- name: measures
-- The course since then, the oldest first.
select
  at, unfinished, completed, failed, answered, queued, unread, dead, oldest, due, overdue, waiting, unanswered, builds
from measures where at > $1 order by at

-- name: newest_measure
select
  at, unfinished, completed, failed, answered, queued, unread, dead, oldest, due, overdue, waiting, unanswered, builds
from measures order by at desc limit 1

-- Of explaining.

-- name: worker_places
-- Where these workers run, and which build of which handler.
select
  id, host || ':' || pid || case when handler <> '' then ' ' || handler || coalesce('@' || handler_build, '') else '' end
    as place
from known_workers where id = any ($1::uuid[])

-- name: call_of
-- The call of the handler that is made for it now, if that takes long: how far it is, and since when its worker has given
-- no sign of life. A row that an ended worker has left is of no call.
select
  c.attempt, extract(epoch from now() - c.began_at)::double precision as seconds, c.fraction::double precision, c.text,
  extract(epoch from now() - c.told_at)::double precision as told_seconds,
  extract(epoch from now() - w.heartbeat)::double precision as silent_seconds
from long_calls c
join requests r on r.request_id = c.request_id and r.attempt = c.attempt and r.finished_at is null
join leases l on l.id = r.lease and l.worker = c.worker
join workers w on w.id = c.worker
where c.request_id = $1

-- name: retries_of
-- Of what it is a retry, and as what it was retried, with who did either; and whether its content was refused.
select
  r.refusal is not null as refused, old.request_id as retry_of, old.selection as retry_selection, (
    select s.who from selections s where s.id = old.selection
  ) as retry_by,
  new.retried_as, new.at as retried_at, new.selection as retried_selection, (
    select s.who from selections s where s.id = new.selection
  ) as retried_by
from requests r
left join retries old on old.retried_as = r.request_id
left join retries new on new.request_id = r.request_id
where r.request_id = $1

-- name: dead_letters_of
-- The newest dead letters in which its id was found.
select id, state, reason, died_at from dead_letters where request_id = $1 order by died_at desc, id limit $2

-- name: body_of
select body from requests where request_id = $1

-- name: busiest_orgs
-- The organisations with the most requests, at most so many. What is kept of each is exact; times and the number of
-- those that failed are of the newest requests since some time, at most $2 of all organisations; and at most as many
-- of one are counted as waiting. What is kept and what is new are put together without a join: there may be thousands.
with kept as (
  select org_id, status, number from request_counts
  union all
  select org_id, status, number from unfolded_changes
), newest as (
  select coalesce(org_id, '') as org_id, code, extract(epoch from took)::double precision as took
  from listed_requests where received_at >= $1 order by received_at desc limit $2::integer
), of_org as (
  select
    org_id, sum(number) filter (where status = 'completed') as completed,
    sum(number) filter (where status = 'failed') as failed,
    sum(number) filter (where status in ('pending', 'processing')) as unfinished, sum(number) as all_of_it,
    sum(received)::bigint as received, sum(recent_failed)::bigint as recent_failed, max(p50) as p50, max(p99) as p99
  from (
    select
      org_id, status, number, null::bigint as received, null::bigint as recent_failed,
      null::double precision as p50, null::double precision as p99
    from kept
    union all
    select
      org_id, null, 0, count(*), count(code), percentile_cont(0.5) within group (order by took),
      percentile_cont(0.99) within group (order by took)
    from newest group by org_id
  ) as each_one
  group by org_id having sum(number) > 0
  order by received desc nulls last, all_of_it desc, org_id limit $3::integer
)
select
  o.org_id as org, waiting.number as waiting, coalesce(greatest(o.unfinished - waiting.number, 0), 0)::bigint as running,
  coalesce(o.completed, 0)::bigint as completed, coalesce(o.failed, 0)::bigint as failed,
  coalesce(o.received, 0) as recent, coalesce(o.recent_failed, 0) as recent_failed, o.p50 as p50_seconds,
  o.p99 as p99_seconds
from of_org o
cross join lateral (
  select count(*) as number from (select from requests q where q.waits_in = o.org_id limit $2) as its
) as waiting
order by o.received desc nulls last, o.all_of_it desc, o.org_id

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

-- Of lines.

-- name: put_off
-- How many wait for a time that is past, or is within a minute, and how many for another attempt, each counted up to a
-- bound; and for how many seconds the oldest one has been due.
select
  (select count(*) from (select from requests where due_at <= now() limit $1::integer) as past) as due,
  coalesce(
    extract(epoch from now() - (select min(due_at) from requests where due_at <= now())), 0
  )::double precision as overdue_seconds,
  (
    select count(*) from (
      select from requests where due_at > now() and due_at <= now() + interval '1 minute' limit $1
    ) as soon
  ) as next_minute,
  (
    select count(*) from (select from requests where due_at is not null and waits_in is null limit $1) as all_of_them
  ) as put_off

-- name: longest_lines
-- The organisations with the most in line, at most so many, and how many there are. What has never begun is counted
-- exactly; all of a line up to a bound ($2). The share is that beside all that have something which may begin now.
with line as (
  select org_id, sum(pending)::bigint as pending, sum(unfinished)::bigint as unfinished, count(*) over () as number
  from (
    select org_id, 0 as pending, 0 as unfinished, true as in_line from lines
    union all
    select org_id, case status when 'pending' then number else 0 end, number, false
    from request_counts where status in ('pending', 'processing')
    union all
    select org_id, case status when 'pending' then number else 0 end, number, false
    from unfolded_changes where status in ('pending', 'processing')
  ) as each_one
  group by org_id having bool_or(in_line) order by pending desc, org_id limit $1::integer
), of_each as (
  select coalesce((select weight from limits_in_force where scope = 'each'), 1) as weight
), awake as (
  select
    of_each.weight * (select count(*) from lines where asleep_until is null) + coalesce((
      select sum(own.weight - of_each.weight) from limits_in_force own join lines l on l.org_id = own.name
      where own.scope = 'org' and own.weight is not null and l.asleep_until is null
    ), 0) as weight
  from of_each
)
select
  line.org_id as org, line.number, greatest(line.pending, its.number) as waiting,
  greatest(0, line.unfinished - greatest(line.pending, its.number)) as running,
  coalesce(extract(epoch from now() - its.first), 0)::double precision as oldest_seconds,
  of_it.weight / (awake.weight + case when l.asleep_until is null then 0 else of_it.weight end) as share,
  l.asleep_for, nullif(l.asleep_until, 'infinity') as asleep_until,
  (select waits_for from requests where waits_in = line.org_id order by begins_at limit 1) as waits_for,
  exists (
    select from pauses p where p.scope = 'org' and p.name = line.org_id and coalesce(p.ends_at > now(), true)
  ) as paused,
  of_it.running as running_limit, of_it.rate, of_it.burst, of_it.weight
from line
join lines l on l.org_id = line.org_id
cross join awake
cross join lateral limit_of(line.org_id) as of_it
cross join lateral (
  select count(*) as number, min(begins_at) as first
  from (select begins_at from requests where waits_in = line.org_id order by begins_at limit $2::integer) as first_ones
) as its
order by waiting desc, line.org_id

-- name: overall
-- What holds back all that waits: a pause or a limit of all together; and the workers that live and are not paused, with
-- the calls of their handlers that run and may run, as they told with their last signs of life.
select
  case
    when exists (select from pauses where scope = 'all' and coalesce(ends_at > now(), true)) then 'paused'
    when whole.rate is not null and tokens(whole.rate, whole.burst, rules.full_at) < 1 then 'rate'
    when whole.running is not null and whole.running <= (
      select count(*) from requests where runs_in is not null
    ) then 'running'
  end as held_by,
  crew.workers, crew.calls, crew.most_calls, crew.full_up
from rules
left join limits_in_force whole on whole.scope = 'all'
cross join (
  select
    count(*) as workers, coalesce(sum((w.load ->> 'running')::integer), 0) as calls,
    coalesce(sum((w.load ->> 'limit')::integer), 0) as most_calls,
    coalesce(bool_and(
      (w.load ->> 'running')::integer >= (w.load ->> 'limit')::integer
      or (w.load ->> 'full_seconds')::double precision > 0
    ), false) as full_up
  from workers w
  where w.heartbeat > now() - make_interval(
      secs => coalesce((w.settings ->> 'lease_seconds')::double precision, $1) / 2
    ) and not exists (
      select from pauses p
      where p.scope = 'worker' and p.name = w.id::text and coalesce(p.ends_at > now(), true)
    )
) as crew

-- Of the audit.

-- name: append_audit
-- For a change that is made by more than one statement, or elsewhere; others have this in their own statement.
insert into audit (who, action, reason, about, touched)
values ($1::text, $2::text, $3::text, $4::jsonb, $5::bigint)

-- name: list_audit
-- The newest first; $5: those before this one; $7: those of actions that begin so.
select number, at, who, role, action, reason, about, touched from audit
where coalesce(about ->> 'org' = $1::text, $1 is null) and coalesce(who = $2::text, $2 is null)
  and coalesce(at >= $3::timestamptz, true) and coalesce(at < $4::timestamptz, true)
  and coalesce(number < $5::bigint, true) and coalesce(starts_with(action, $7::text), $7 is null)
order by number desc limit $6

-- name: interventions
-- The newest of these actions since then.
select at, who, action, reason, about from audit
where at >= $1::timestamptz and action = any ($2::text[])
order by at desc limit $3::integer

-- name: retire_audit
select retire_audit(make_interval(secs => $1), $2) as gone

-- Of selections.

-- name: make_selection
-- A selection without anything in it yet. It may be repeated.
insert into selections (id, action, chosen_by, options, who, reason, rate)
values ($1, $2, $3::jsonb, $4::jsonb, $5, $6, $7)
on conflict (id) do nothing

-- name: add_to_selection
-- Only while nothing has been done with it.
with mine as (
  select id from selections where id = $1 and state = 'prepared' for update
), added as (
  insert into selection_items (selection, request_id)
  select mine.id, given.request_id from mine, unnest($2::uuid[]) as given (request_id)
  on conflict do nothing
  returning request_id
)
update selections set chosen = chosen + (select count(*) from added) where id = $1 and state = 'prepared'
returning chosen

-- name: drop_selection
-- One that nobody wanted after a look at it.
delete from selections where id = $1 and state = 'prepared'

-- name: drop_forgotten_selections
delete from selections where state = 'prepared' and made_at < now() - make_interval(secs => $1)

-- name: preview
-- What is in a selection, or would be in one of these: how many, of whom, since when, and where their answers go.
with chosen as (
  select r.org_id, r.status, r.received_at, r.reply_to, strpos(r.body, '"sealed:v1:') > 0 as has_secrets,
    exists (select from retries_noted t where t.request_id = i.request_id and t.sent) as retried
  from (
    select request_id from selection_items where selection = $1::text
    union all
    select request_id from unnest($2::uuid[]) as given (request_id)
  ) as i join requests r on r.request_id = i.request_id
), by_org as (
  select coalesce(org_id, '') as org_id, count(*) as number from chosen group by 1
)
select
  count(*) as requests, min(received_at) as oldest, count(*) filter (where has_secrets) as with_secrets,
  count(*) filter (where status = 'failed') as failed, count(*) filter (where status = 'completed') as completed,
  count(*) filter (where retried) as retried,
  count(*) filter (where reply_to is null) as to_response_queue,
  count(*) filter (where starts_with(reply_to, $3)) as to_direct_replies,
  count(distinct reply_to) filter (where not starts_with(reply_to, $3)) as reply_queues,
  (select count(*) from by_org) as orgs,
  coalesce((
    select array_agg(org_id order by number desc, org_id)
    from (select * from by_org order by number desc, org_id limit 5) as most
  ), '{}') as first_orgs
from chosen

-- name: begin_selection
-- Lets one process work on it: no other does, unless that one was not seen for so many seconds. One row of the audit.
with before as (
  select id, state, runner from selections
  where id = $1 and (
    state in ('prepared', 'stopped')
    or (state = 'running' and (runner = $2 or runner_seen < now() - make_interval(secs => $5)))
  )
  for update
), begun as (
  update selections set state = 'running', runner = $2, runner_seen = now(), ended_at = null
  from before where selections.id = before.id
  returning selections.*, before.state as state_before, before.runner as runner_before
), noted as (
  insert into audit (who, action, reason, about, touched)
  select
    $3::text, 'requests.' || action || case state_before when 'prepared' then '' else ' (continued)' end,
    coalesce($4::text, reason),
    jsonb_build_object('selection', id, 'chosen_by', chosen_by, 'org', chosen_by ->> 'org') || options,
    chosen - done - skipped - failed
  from begun where state_before <> 'running' or runner_before <> $2
)
select id from begun

-- name: next_of_selection
-- What is next to be done, as it is on record. No row: somebody else has it, or has stopped it; one row without a
-- request: nothing is left.
with mine as (
  update selections set runner_seen = now() where id = $1 and runner = $2 and state = 'running' returning id
)
select
  i.request_id, r.status, r.org_id, r.body, r.refusal is not null as refused, r.response, r.error_code, r.reply_to,
  r.correlation_id, r.traceparent, r.finished_at
from mine
left join lateral (
  select n.request_id from selection_items n
  where n.selection = mine.id and n.state = 'waiting' order by n.request_id limit $3
) as i on true
left join requests r on r.request_id = i.request_id

-- name: link_retries
-- Notes as which request each of these is retried. Returns those that may be sent, with that id: those that this
-- selection has noted, now or before, and those that another one has noted and never sent.
with noted as (
  insert into retries (request_id, retried_as, selection)
  select request_id, retried_as, $1 from unnest($2::uuid[], $3::uuid[]) as given (request_id, retried_as)
  on conflict (request_id) do nothing
  returning request_id, retried_as
)
select request_id, retried_as from noted
union
select request_id, retried_as from retries_noted where request_id = any ($2) and (selection = $1 or not sent)

-- name: note_of_selection
-- What came of some of it. What is noted already stays, so that it may be repeated. Responses that the broker has
-- confirmed once more wait no longer, wherever they went.
with noted as (
  update selection_items i set state = given.state, outcome = given.outcome, at = now()
  from unnest($3::uuid[], $4::text[], $5::text[]) as given (request_id, state, outcome)
  where i.selection = $1 and i.request_id = given.request_id and i.state = 'waiting'
  returning i.request_id, i.state
), resent as (
  update requests r set
    published_at = coalesce(l.published_at, now()),
    due_at = null, answer_at = null, undelivered = null, undelivered_at = null
  from noted join listed_requests l using (request_id), selections s
  where s.id = $1 and s.action = 'resend' and noted.state = 'done' and r.request_id = noted.request_id
    and r.finished_at is not null
), counted as (
  select
    count(*) filter (where state = 'done') as done, count(*) filter (where state = 'skipped') as skipped,
    count(*) filter (where state = 'failed') as failed
  from noted
)
update selections s set
  done = s.done + counted.done, skipped = s.skipped + counted.skipped, failed = s.failed + counted.failed,
  runner_seen = case when s.runner = $2 then now() else s.runner_seen end
from counted where s.id = $1

-- name: seen_with_selection
update selections set runner_seen = now() where id = $1 and runner = $2

-- name: end_selection
-- Its runner leaves it: as done if nothing is left, else as stopped.
update selections set
  state = case when done + skipped + failed = chosen then 'done' else 'stopped' end,
  runner = null, ended_at = now()
where id = $1 and runner = $2

-- name: stop_selection
-- Its runner finds out with what is next. One row of the audit.
with stopped as (
  update selections set state = 'stopped', runner = null, ended_at = now()
  where id = $1 and state = 'running'
  returning *
), noted as (
  insert into audit (who, action, reason, about, touched)
  select
    $2::text, 'selections.stop', $3::text,
    jsonb_build_object('selection', id, 'action', action, 'org', chosen_by ->> 'org'),
    chosen - done - skipped - failed
  from stopped
)
select id from stopped

-- name: selections
-- One, or the newest ones. `alive`: its runner was seen within so many seconds.
select
  id, action, chosen_by, options, who, reason, rate, made_at, state, ended_at, chosen, done, skipped, failed,
  coalesce(runner_seen > now() - make_interval(secs => $2), false) and state = 'running' as alive
from selections where coalesce(id = $1::text, $1 is null)
order by made_at desc limit $3

-- name: audit_of_selection
-- What was done with a selection, the first first.
select a.number, a.at, a.who, a.role, a.action, a.reason, a.about, a.touched
from selections s join audit a on a.at >= s.made_at and a.about ->> 'selection' = s.id
where s.id = $1 order by a.number limit $2::integer

-- name: outcomes_of_selection
-- What came of its requests so far, the most frequent first: why they were skipped or could not be sent.
select state, outcome, count(*) as number from selection_items
where selection = $1 and state <> 'waiting' group by 1, 2 order by 3 desc, 2 limit $2

-- name: results_of_selection
-- How the requests stand that it has sent or cancelled; those that were retried, as the new ones. Without a status: not
-- accepted yet.
select r.status, r.error_code as code, count(*) as number
from selections s
join selection_items i on i.selection = s.id and i.state = 'done'
left join retries t on s.action = 'retry' and t.request_id = i.request_id
left join requests r on r.request_id = case s.action when 'retry' then t.retried_as else i.request_id end
where s.id = $1
group by 1, 2 order by 3 desc

-- Of works.

-- name: begin_work
-- A work of this runner's, and a row of the audit. Those that ended long ago are cleared away. It may be repeated.
with gone as (
  delete from works where begun_at < now() - interval '30 days' and state <> 'running'
), begun as (
  insert into works (id, kind, options, chosen, who, reason, state, runner, runner_seen)
  values ($1, $2, $3::jsonb, $4::uuid[], $5, $6, 'running', $7, now())
  on conflict (id) do nothing
  returning *
)
insert into audit (who, action, reason, about, touched)
select who, kind || ' (begun)', reason, jsonb_build_object('work', id) || options - 'edits', cardinality(chosen) from begun

-- name: go_on_with_work
-- Gives a work that nobody does to this runner. One row of the audit. No row: somebody does it, or it is done.
with mine as (
  update works set state = 'running', runner = $2, runner_seen = now(), ended_at = null, trouble = null
  where id = $1 and (
    state in ('stopped', 'failed')
    or (state = 'running' and runner_seen < now() - make_interval(secs => $5))
  )
  returning *
), noted as (
  insert into audit (who, action, reason, about, touched)
  select
    $3::text, kind || ' (continued)', $4::text, jsonb_build_object('work', id) || options - 'edits', cardinality(chosen)
  from mine
)
select id from mine

-- name: note_work
-- How far it is. No row: somebody has stopped it, or has taken it.
update works set progress = $3::jsonb, runner_seen = now()
where id = $1 and runner = $2 and state = 'running'
returning id

-- name: end_work
update works set state = $3, trouble = $4, progress = $5::jsonb, runner = null, ended_at = now()
where id = $1 and runner = $2

-- name: stop_work
-- Its runner finds out when it notes how far it is. One row of the audit.
with stopped as (
  update works set state = 'stopped', runner = null, ended_at = now() where id = $1 and state = 'running'
  returning *
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $2::text, kind || ' (stopped)', $3::text, jsonb_build_object('work', id), cardinality(chosen) from stopped
)
select id from stopped

-- name: works
-- One, or the newest ones of a kind. `alive`: its runner was seen within so many seconds.
select
  id, kind, options, cardinality(chosen) as chosen, who, reason, begun_at, state, ended_at, trouble, progress,
  coalesce(runner_seen > now() - make_interval(secs => $3), false) and state = 'running' as alive
from works
where coalesce(id = $1::text, $1 is null) and coalesce(kind = any ($2::text[]), $2 is null)
order by begun_at desc limit $4

-- name: chosen_for_work
select chosen from works where id = $1

-- Of the history, for export.

-- name: requests_by_arrival
-- Requests of an organisation (null: of all), in the order of their arrival after ($2, $3), and before $4.
(
  select request_id, received_at, finished_at from requests
  where $1::text is null and received_at >= $2::timestamptz and received_at < $4::timestamptz
    and (received_at > $2 or request_id > $3::uuid)
  order by received_at, request_id limit $5::integer
)
union all
(
  select request_id, received_at, finished_at from requests
  where org_id = $1 and received_at >= $2 and received_at < $4 and (received_at > $2 or request_id > $3)
  order by received_at, request_id limit $5
)

-- name: changes_of
-- All that changed in these requests between two times, with who made it: an operator, where one did.
select
  step.at, r.request_id, r.org_id, r.user_id, step.attempt, step.before as from_status, step.status as to_status,
  case when step.status = 'failed' then r.error_code end as code,
  case
    when step.status = 'failed' then left(r.response::json ->> 'error', 500)
    when step.before = 'processing' then (
      select a.reason from attempts a where a.request_id = r.request_id and a.attempt = step.attempt - 1
    )
  end as reason,
  case
    when step.status = 'pending' then (
      select s.who from retries t join selections s on s.id = t.selection where t.retried_as = r.request_id
    )
    when r.error_code = 'cancelled' and step.status = 'failed' then (
      select s.who from selection_items i join selections s on s.id = i.selection
      where i.request_id = r.request_id and s.action = 'cancel' and i.state = 'done' order by i.at limit 1
    )
  end as actor,
  coalesce(w.host || ':' || w.pid, step.worker::text) as worker, w.handler_build as build, r.session_id
from unnest($1::uuid[]) as given (request_id)
join requests r on r.request_id = given.request_id
cross join lateral (
  select
    t.at, t.attempt, t.status, t.worker,
    lag(t.status) over (order by t.at, t.attempt, t.status = 'processing' desc) as before
  from request_transitions t where t.request_id = r.request_id
) as step
left join lateral (select * from known_workers k where k.id = step.worker limit 1) as w on true
where step.at >= $2 and step.at < $3
order by step.at, r.request_id, step.attempt

-- Of dead letters.

-- name: dead_letter_ids
-- Those that a filter finds, the oldest first.
select id from dead_letters_that($1, $2, $3, $4, $5, $6, $7, $8) order by died_at, id

-- name: dead_letter_list
-- The newest of those that a filter finds, without their bodies, after the one with the id $10; and how many it finds.
with found as (
  select
    id, size, reason, kind, app_id, user_id, exchange, routing_key, request_id, died_at, kept_at, state, ended_at,
    ended_by, ended_reason, sent_to
  from dead_letters_that($1, $2, $3, $4, $5, $6, $7, $8)
), place as (
  select died_at, id from dead_letters where id = $10::uuid
)
select f.*, (select count(*) from found) as found
from found f
where $10 is null or exists (
  select from place p where f.died_at < p.died_at or (f.died_at = p.died_at and f.id > p.id)
)
order by died_at desc, id limit $9

-- name: dead_letter_groups
-- Those that a filter finds, grouped, the largest group first; each with an example.
select
  name, count(*) as messages, min(died_at) as first_at, max(died_at) as last_at,
  array_agg(distinct app_id) filter (where app_id is not null) as apps, (array_agg(id order by died_at, id))[1] as example
from (
  select d.*, case $9
    when 'reason' then kind
    when 'app' then coalesce(app_id, '')
    when 'field' then coalesce(substring(reason from 'not valid: ([^ ,;]+)'), '')
    when 'hour' then to_char(died_at at time zone 'UTC', 'YYYY-MM-DD HH24":00Z"')
  end as name
  from dead_letters_that($1, $2, $3, $4, $5, $6, $7, $8) as d
) as named
group by name order by messages desc, name

-- name: find_dead_letters
-- Those of which people have an id: its own, or its request's, or the beginning of one; or a whole message id.
select id from dead_letters
where id between $1 and $2 or request_id between $1 and $2 or message_id = $3
order by died_at, id limit $4

-- name: dead_letters
-- These, with all that is known of them, the oldest first.
select * from dead_letters where id = any ($1) order by died_at, id

-- name: hold_dead_letters
-- Holds those of these that are still kept until the transaction ends. Those that somebody else holds are left out.
select id from dead_letters where id = any ($1) and state = 'kept' order by id for update skip locked

-- name: note_replayed
-- Notes where these were sent. One row of the audit.
with sent as (
  update dead_letters d
  set state = 'replayed', ended_at = now(), ended_by = $3, ended_reason = $4, sent_to = given.place
  from unnest($1::uuid[], $2::text[]) as given (id, place)
  where d.id = given.id and d.state = 'kept'
  returning d.id
), audited as (
  insert into audit (who, action, reason, about, touched)
  select $3, $5, $4, $6::jsonb, count(*) from sent having count(*) > 0
)
select id from sent

-- name: drop_dead_letters
-- Drops these, unless somebody else has done anything to them meanwhile. One row of the audit.
with dropped as (
  update dead_letters
  set state = 'dropped', ended_at = now(), ended_by = $2, ended_reason = $3
  where id = any ($1) and state = 'kept'
  returning id
), audited as (
  insert into audit (who, action, reason, about, touched)
  select $2, 'dead.drop', $3, $4::jsonb, count(*) from dropped having count(*) > 0
)
select id from dropped

-- name: restore_dead_letters
-- Puts back what was dropped not too long ago. One row of the audit.
with restored as (
  update dead_letters
  set state = 'kept', ended_at = null, ended_by = null, ended_reason = null
  where id = any ($1) and state = 'dropped' and ended_at > now() - make_interval(secs => $5)
  returning id
), audited as (
  insert into audit (who, action, reason, about, touched)
  select $2, 'dead.restore', $3, $4::jsonb, count(*) from restored having count(*) > 0
)
select id from restored

-- Of keys.

-- name: keys_of_unfinished
-- Of the requests that a worker still has to open, counted up to a bound each way that leads to them: which keys have
-- sealed their secrets. As below, a body comes along where it names several keys.
with these as (
  (select r.* from leases l join requests r on r.lease = l.id where r.finished_at is null limit $1::integer)
  union all
  (select * from requests where due_at is not null and finished_at is null and waits_in is null limit $1)
  union all
  (select * from requests where waits_in is not null limit $1)
)
select
  keys, case when cardinality(keys) > 1 then body end as text, count(*) as number, min(received_at) as oldest
from (
  select keys_in(body) as keys, body, received_at from these
  where body is not null and substring(fingerprint from 1 for 6) <> 'plain:'::bytea
) as sealed
group by 1, 2

-- name: keys_of_requests
-- Of the next requests in the order of their arrival, after ($1, $2): which keys have sealed their secrets, and which
-- one made the fingerprint. Those that are alike come once, with how many they are. A body that names several keys
-- comes along, since the place of a text says whether it is a secret. No row: that was the end.
with page as (
  select request_id, received_at, finished_at, fingerprint, body from requests
  where received_at >= $1::timestamptz and (received_at > $1 or request_id > $2::uuid)
  order by received_at, request_id limit $3::integer
), alike as (
  select
    finished, marked_by, keys, case when cardinality(keys) > 1 then body end as text, count(*) as number,
    min(received_at) as oldest
  from (
    select
      received_at, finished_at is not null as finished, keys_in(coalesce(body, '')) as keys, body,
      encode(substring(fingerprint from 1 for greatest(position('\x3a'::bytea in fingerprint) - 1, 0)), 'escape')
        as marked_by
    from page where substring(fingerprint from 1 for 6) <> 'plain:'::bytea and fingerprint <> 'cancelled:'::bytea
  ) as sealed
  group by 1, 2, 3, 4
)
select (select count(*) from page) as looked, reached.received_at, reached.request_id, alike.*
from (select received_at, request_id from page order by received_at desc, request_id desc limit 1) as reached
left join alike on true

-- name: since_newest
-- When the first one of the newest requests was received, of so many.
select min(received_at) as since from (select received_at from requests order by received_at desc limit $1::integer) as newest

-- name: keys_of_sessions
-- Of the next sessions after $1, in the order of their ids: those in which there may be sealed texts.
with page as (
  select id, created_at, document from sessions where id > $1::text order by id limit $2::integer
), texts as materialized (
  select created_at, document::text as text from page
)
select (select count(*) from page) as looked, (select max(id) from page) as reached, sealed.text,
  sealed.created_at
from (select from page limit 1) as there
left join (select text, created_at from texts where strpos(text, '"sealed:v1:') > 0) as sealed on true

-- name: keys_of_dead_letters
-- Of the next dead letters after $1, in the order of their ids: which keys have sealed them.
with page as (
  select id, sealed_by, died_at from dead_letters where id > $1::uuid order by id limit $2::integer
)
select
  (select count(*) from page) as looked, (select id from page order by id desc limit 1) as reached, sealed_by as key,
  count(*) as number, min(died_at) as oldest
from page group by sealed_by

-- name: keys_of_workers
-- The names of the keys that each live worker has; one of an older version does not say.
select host || ':' || pid as worker, settings ->> 'seal_keys' as keys from workers
where settings ->> 'seal_keys' is not null
  and heartbeat > now() - make_interval(secs => coalesce((settings ->> 'lease_seconds')::double precision, $1))
order by 1

-- name: retired_keys
-- The keys that seal no more, the latest first.
select key, retired_at, who, reason from retired_keys order by retired_at desc, key

-- name: requests_sealed_with
-- Of the next requests in the order of their arrival, after ($1, $2): those with a text that the key $4 has sealed.
-- No row: that was the end.
with page as (
  select request_id, received_at, body from requests
  where received_at >= $1::timestamptz and (received_at > $1 or request_id > $2::uuid)
  order by received_at, request_id limit $3::integer
)
select (select count(*) from page) as looked, reached.received_at, reached.request_id, sealed.id, sealed.text
from (select received_at, request_id from page order by received_at desc, request_id desc limit 1) as reached
left join (
  select request_id as id, body as text from page where strpos(body, '"sealed:v1:' || $4::text || ':') > 0
) as sealed on true

-- name: sessions_sealed_with
-- As above, of the next sessions after $1.
with page as (
  select id, request_id, document from sessions where id > $1::text order by id limit $2::integer
), texts as materialized (
  select request_id as id, document::text as text from page
)
select (select count(*) from page) as looked, (select max(id) from page) as reached, sealed.id, sealed.text
from (select from page limit 1) as there
left join (
  select id, text from texts where strpos(text, '"sealed:v1:' || $3::text || ':') > 0
) as sealed on true

-- name: dead_letters_sealed_with
-- As above, of the next dead letters after $1.
with page as (
  select id, sealed_by, body from dead_letters where id > $1::uuid order by id limit $2::integer
)
select (select count(*) from page) as looked, reached.id as reached, sealed.id, sealed.body
from (select id from page order by id desc limit 1) as reached
left join (select id, body from page where sealed_by = $3::text) as sealed on true

-- name: ownership
-- Who asks, and whether these are his tables.
select current_user as role, has_table_privilege('requests'::regclass, 'trigger with grant option') as owner

-- Of retention.

-- name: kept
-- What is kept: each table with its bytes and about how many rows, since when, and how many rows are of the last day,
-- counted up to a bound ($1). Where no index says the last two, they are null.
with since as (
  select 'requests' as name, (select min(received_at) from requests) as since
  union all
  select 'sessions', (select created_at from sessions order by id limit 1) -- an id begins with its day
  union all
  select 'audit', (select min(at) from audit)
  union all
  select 'selections', (select min(made_at) from selections)
  union all
  select 'retries', (select min(at) from retries)
  union all
  select 'dead_letters', least(
    (select min(died_at) from dead_letters where state = 'kept'),
    (select min(died_at) from dead_letters where state = 'replayed'),
    (select min(died_at) from dead_letters where state = 'dropped')
  )
  union all
  select 'other_answers', least(
    (select min(answer_at) from other_answers where status = 'completed'),
    (select min(answer_at) from other_answers where status = 'failed')
  )
), of_the_last_day as (
  select 'requests' as name, count(*) as rows, min(at) as first
  from (select received_at as at from requests where received_at > now() - interval '1 day' order by 1 desc limit $1::integer) as r
  union all
  select 'audit', count(*), min(at)
  from (select at from audit where at > now() - interval '1 day' order by at desc limit $1) as a
  union all
  select 'dead_letters', count(*), min(at)
  from (
    select died_at as at from dead_letters
    where state in ('kept', 'replayed', 'dropped') and died_at > now() - interval '1 day' limit $1
  ) as d
)
select
  c.relname as name, part.table_bytes, part.index_bytes, part.rows, since.since, day.rows as day_rows,
  -- Where there are more than were counted: in how many seconds these came.
  case when day.rows = $1 then extract(epoch from now() - day.first) else 86400 end::double precision as day_seconds
from pg_class c
cross join lateral (
  select
    sum(pg_table_size(leaf.oid))::bigint as table_bytes, sum(pg_indexes_size(leaf.oid))::bigint as index_bytes,
    sum(nullif(leaf.reltuples, -1))::bigint as rows
  from pg_class leaf
  where leaf.relkind = 'r' and (
    leaf.oid = c.oid or leaf.oid in (select inhrelid from pg_inherits where inhparent = c.oid)
  )
) as part
left join since on since.name = c.relname
left join of_the_last_day as day on day.name = c.relname
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
order by part.table_bytes + part.index_bytes desc, c.relname

-- name: old_requests
-- Of the next requests after $1, in the order of their arrival: how many are finished and older than so many seconds.
-- As retire_requests looks at them. No row: that was the end.
with page as (
  select received_at, finished_at from requests
  where received_at > $1::timestamptz and received_at < now() - make_interval(secs => $2)
  order by received_at fetch first ($3::integer) rows with ties
)
select
  count(*) as looked, max(received_at) as reached,
  count(*) filter (where finished_at < now() - make_interval(secs => $2)) as old
from page having count(*) > 0

-- name: session_months
-- The months of sessions that are over, about how many sessions each has, and why it is kept: null: all of it ended
-- before $1, and it can be dropped.
select p.name, greatest(c.reltuples, 0)::bigint as rows, keeps_sessions(p.name, $1::timestamptz) as kept_by
from session_partitions p join pg_class c on c.oid = quote_ident(p.name)::regclass
where p.ends_at < now() order by p.ends_at

-- name: ended_sessions
-- Of the next sessions after $1 that belong to no month: how many ended before $2, and of how many of these the request
-- is on record. No row: that was the end. Those from before there were months have ids below the first month's; they
-- are passed by if their table is among those that go as a whole ($4).
with page as (
  select id, request_id, status = 'completed' and updated_at < $2::timestamptz as ended
  from (
    (
      select id, request_id, status, updated_at from sessions
      where id > $1::text and id < coalesce(
        (select end_id from session_partitions where not is_month and name <> all ($4::text[])), ''
      )
      order by id limit $3::integer
    )
    union all
    (select id, request_id, status, updated_at from sessions_other where id > $1 order by id limit $3)
  ) as monthless
  order by id limit $3
)
select
  count(*) as looked, max(id) as reached,
  count(*) filter (
    where ended and not exists (select from requests r where r.request_id = page.request_id)
  ) as gone,
  count(*) filter (
    where ended and exists (select from requests r where r.request_id = page.request_id)
  ) as kept
from page having count(*) > 0

-- name: retire_by_hand
-- Deletes some old requests as a worker does. One row of the audit.
with gone as (
  select retired, reached from retire_requests(make_interval(secs => $1), $2, $3)
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $4::text, 'retention.run', $5::text, $6::jsonb, retired from gone where retired > 0
)
select retired, reached from gone

-- name: kept_at_least
-- For how many seconds others than the owner have to keep requests.
select extract(epoch from coalesce((select kept_at_least from installation), '1 day'))::double precision as seconds

-- name: retention_of_workers
-- How many days each live worker keeps requests, where it says so.
select distinct (settings ->> 'retention_days')::double precision as days from workers
where settings ->> 'retention_days' is not null
  and heartbeat > now() - make_interval(secs => coalesce((settings ->> 'lease_seconds')::double precision, $1))
order by 1

-- Of blockers.

-- name: waiting_for_locks
-- The statements of this installation that wait for a lock, each with for how many seconds: they want one of its
-- tables, or are a worker's or a command's. Advisory locks are for waiting.
select
  l.pid, max(extract(epoch from clock_timestamp() - coalesce(l.waitstart, a.query_start)))::double precision as seconds
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where not l.granted and l.locktype <> 'advisory' and a.datname = current_database()
  and (
    starts_with(a.application_name, 'session-worker ')
    or l.relation in (select oid from pg_class where relnamespace = current_schema()::regnamespace)
  )
group by l.pid

-- name: terminate_blocker
-- Ends the connection with this pid, unless it has begun another transaction since $2. One row of the audit, if it is
-- ended.
with found as (
  select pid from pg_stat_activity where pid = $1::integer and xact_start is not distinct from $2::timestamptz
), ended as materialized (
  select pg_terminate_backend(pid) as done from found
), noted as (
  insert into audit (who, action, reason, about) select $3::text, 'blockers.terminate', $4::text, $5::jsonb
  from ended where done
)
select done from ended

-- Of changes that programs ask for.

-- name: begin_call
-- A row: it is to be done now, and by nobody else. Keys of which nobody asks any more are cleared away, some at a time.
with old as (
  delete from answered_calls where (who, key) in (
    select who, key from answered_calls
    where begun_at < now() - make_interval(secs => $4) and (who, key) <> ($1, $2)
    order by begun_at limit 1000
  )
)
insert into answered_calls as known (who, key, asked)
values ($1, $2, $3)
on conflict (who, key) do update set asked = excluded.asked, begun_at = now(), status = null, answer = null
  where known.begun_at < now() - make_interval(secs => $4)
returning who

-- name: answered_call
select asked, begun_at, status, answer from answered_calls where who = $1 and key = $2

-- name: end_call
update answered_calls set status = $3, answer = $4 where who = $1 and key = $2 and status is null
returning who
