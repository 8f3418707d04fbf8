-- What the checks of worker/operations/doctor ask, a section for each of its parts. They only look.

-- Of the server.

-- name: lock_waits
-- Who is at the head of the lines that statements have stood in for so many seconds, waiting for a lock.
with recursive waiting as (
  select l.pid, min(l.waitstart) as since, min(l.relation::regclass::text) as relation
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
  where not l.granted and l.locktype <> 'advisory' and a.datname = current_database()
    and l.waitstart <= clock_timestamp() - make_interval(secs => $1)
  group by l.pid
), line as (
  select pid as waiting, holder from waiting, unnest(pg_blocking_pids(pid)) as holder
  union
  select line.waiting, ahead from line, unnest(pg_blocking_pids(line.holder)) as ahead
)
select
  line.holder as pid, who.usename::text as role, who.application_name as application, who.xact_start as begun_at,
  who.query, count(*) as waiting, min(waiting.relation) as relation,
  extract(epoch from clock_timestamp() - min(waiting.since))::double precision as seconds
from line join waiting on waiting.pid = line.waiting
left join pg_stat_activity as who on who.pid = line.holder
where cardinality(pg_blocking_pids(line.holder)) = 0
group by 1, 2, 3, 4, 5
order by seconds desc

-- name: idle_in_transaction
-- Who has begun a transaction and says nothing any more, for so many seconds.
select
  pid, usename::text as role, application_name as application, query,
  extract(epoch from clock_timestamp() - state_change)::double precision as seconds
from pg_stat_activity
where datname = current_database() and starts_with(state, 'idle in transaction')
  and state_change <= clock_timestamp() - make_interval(secs => $1)
order by state_change

-- name: old_snapshots
-- What has been at work for so many seconds, and keeps vacuum from what was deleted since. Who is idle is told elsewhere.
select
  pid, null as prepared, usename::text as role, application_name as application, query,
  extract(epoch from clock_timestamp() - xact_start)::double precision as seconds
from pg_stat_activity
where datname = current_database() and backend_xmin is not null and pid <> pg_backend_pid()
  and not starts_with(coalesce(state, ''), 'idle in transaction') and backend_type <> 'autovacuum worker'
  and xact_start <= clock_timestamp() - make_interval(secs => $1)
union all
select
  null, gid, owner::text, null, null, extract(epoch from clock_timestamp() - prepared)::double precision
from pg_prepared_xacts
where database = current_database() and prepared <= clock_timestamp() - make_interval(secs => $1)
order by seconds desc

-- name: connections
-- How many there are, how many there may be, and how many workers live.
select
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    - coalesce(current_setting('reserved_connections', true), '0')::integer as most,
  (select sum(numbackends) from pg_stat_database)::integer as used,
  (select nullif(datconnlimit, -1) from pg_database where datname = current_database()) as of_database,
  (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user) as of_role,
  (
    select count(*) from workers w
    where w.heartbeat > now() - make_interval(
      secs => coalesce((w.settings ->> 'lease_seconds')::double precision, $1)
    )
  )::integer as workers

-- name: server
select
  clock_timestamp() as now, current_setting('server_version') as version,
  current_setting('server_version_num')::integer as number, pg_is_in_recovery() as standby,
  current_setting('transaction_read_only')::boolean as read_only, current_setting('synchronous_commit') as commits,
  current_setting('fsync')::boolean as syncs, current_setting('full_page_writes')::boolean as whole_pages,
  current_setting('synchronous_standby_names') as standbys,
  (select count(*) from pg_stat_replication where coalesce(sync_state, 'sync') in ('sync', 'quorum')) as in_sync

-- name: kept_for_slots
-- What is kept of the log for those that do not fetch it, where that is more than so many bytes.
select slot_name::text as slot, pg_wal_lsn_diff(head.lsn, restart_lsn)::bigint as bytes
from pg_replication_slots, (
  select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn
) as head
where not active and pg_wal_lsn_diff(head.lsn, restart_lsn) >= $1::bigint
order by bytes desc

-- Of the tables.

-- name: role
-- What is special about the role that asks, and whether there are sessions that it cannot look into.
select
  current_user::text as role, r.rolsuper as superuser,
  (select pg_get_userbyid(relowner) = current_user from pg_class where oid = 'requests'::regclass) as owner,
  (select count(*) from pg_stat_activity where query = '<insufficient privilege>' and datname = current_database())
    as hidden
from pg_roles r where r.rolname = current_user

-- name: missing_rights
-- Those of these rights that the role lacks. A right on a table is one on each of its columns, too.
select given.position::integer as position
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as given (thing, privilege, part, position)
cross join lateral (select to_regclass(case when given.privilege <> 'execute' then given.thing end) as oid) as t
cross join lateral (
  select case
    when given.privilege <> 'execute' then null
    when strpos(given.thing, '(') > 0 then to_regprocedure(given.thing)::oid
    else to_regproc(given.thing)::oid
  end as oid
) as f
where not case
  when given.privilege = 'execute' then coalesce(has_function_privilege(f.oid, 'execute'), false)
  when given.part is null then coalesce(has_table_privilege(t.oid, given.privilege), false)
  else coalesce(has_column_privilege(t.oid, given.part, given.privilege), false)
end
order by 1

-- name: made_things
-- The indexes and triggers of this schema, and whether each does its work.
select 'index' as kind, c.relname::text as name, i.indisvalid and i.indisready as works
from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = current_schema()::regnamespace
union all
select 'trigger', t.tgname::text, t.tgenabled in ('O', 'A')
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = current_schema()::regnamespace and not t.tgisinternal

-- name: newer_migrations
select number, name from schema_migrations where number > $1 order by number

-- name: table_health
-- What Postgres has counted of these tables since its counts were reset.
select
  c.relname::text as name, s.n_live_tup as live, s.n_dead_tup as dead, s.n_tup_upd as updates,
  s.n_tup_hot_upd as updates_on_page, greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at,
  age(c.relfrozenxid)::bigint as age,
  current_setting('autovacuum')::boolean and coalesce((
    select option_value::boolean from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_enabled'
  ), true) as autovacuum
from pg_class c join pg_stat_all_tables s on s.relid = c.oid
where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and (
  c.relname = any ($1::text[]) or 'sessions' = any ($1)
    and c.oid in (select inhrelid from pg_inherits where inhparent = 'sessions'::regclass)
)
order by c.relname

-- name: growth
-- How large these tables are, how many requests they hold, and how many came within a day, counted up to a bound, which
-- then are those since `since`.
with newest as (
  select received_at from requests where received_at > now() - interval '1 day' order by received_at desc limit $2
)
select
  (
    select sum(pg_total_relation_size(c.oid)) from pg_class c
    where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and (
      c.relname = any ($1::text[]) or c.oid in (select inhrelid from pg_inherits where inhparent = 'sessions'::regclass)
    )
  )::bigint as bytes,
  (
    select coalesce(sum(number), 0) from (
      select number from request_totals union all select number from unfolded_changes
    ) as kept
  )::bigint as requests,
  count(*) as newest, extract(epoch from now() - min(received_at))::double precision as seconds
from newest

-- name: prefixes
-- The prefixes of the workers that live.
select coalesce(settings ->> 'prefix', '(unknown)') as prefix, count(*) as workers, min(host || ':' || pid) as example
from workers
where settings is not null
  and heartbeat > now() - make_interval(secs => coalesce((settings ->> 'lease_seconds')::double precision, $1))
group by 1 order by 1

-- Of requests.

-- name: stuck
-- How many unfinished requests nothing holds: neither a lease, nor the time of their next attempt, nor a line; and how
-- many are under leases that ran out so many seconds ago. All of it is seen at one moment.
with unfinished as (
  select coalesce(sum(number), 0) as number from (
    select status, number from request_totals union all select status, number from unfolded_changes
  ) as kept where status in ('pending', 'processing')
), held as (
  select
    count(*) as number,
    count(*) filter (where l.lease_until < now() - make_interval(secs => $1)) as forgotten,
    extract(epoch from now() - min(l.lease_until))::double precision as seconds
  from leases l join requests r on r.lease = l.id where r.finished_at is null
), put_off as (
  select count(*) as number from requests r
  where r.due_at is not null and r.waits_in is null and r.finished_at is null
    and not exists (select from leases l where l.id = r.lease)
), in_line as (
  select count(*) as number from requests where waits_in is not null
)
select
  greatest(0, unfinished.number - held.number - put_off.number - in_line.number)::bigint as lost,
  held.forgotten, held.seconds
from unfinished, held, put_off, in_line

-- name: lost_requests
-- Some of those that nothing holds, if they are among the newest.
select request_id, status, received_at from (select * from requests order by received_at desc limit $1) as r
where finished_at is null and due_at is null and waits_in is null
  and not exists (select from leases l where l.id = r.lease)
order by received_at limit $2

-- name: long_unanswered
-- Responses that have waited for so many seconds, by reason and queue ('' is the response queue), counted up to a bound.
select
  coalesce(state, 'not tried') as state, queue, count(*) as number,
  extract(epoch from now() - min(since))::double precision as seconds
from (
  (
    select undelivered as state, coalesce(reply_to, '') as queue, finished_at as since from requests
    where answer_at is not null and answer_way in ('completed', 'failed') limit $1
  )
  union all
  (
    select undelivered, coalesce(reply_to, ''), finished_at from requests
    where answer_at is not null and answer_way in ('reply', 'direct') limit $1
  )
  union all
  (select 'refused', '', created_at from other_answers limit $1)
) as waiting
where since < now() - make_interval(secs => $2)
group by 1, 2 order by 3 desc

-- name: given_up
-- Of the newest requests, those finished so many seconds ago whose response is with nobody and waits for nothing. Without
-- a state: it was never sent.
select
  undelivered as state, coalesce(reply_to, '') as queue, count(*) as number, (array_agg(request_id))[1] as example
from (
  select * from requests where received_at > now() - make_interval(secs => $2) order by received_at desc limit $1
) as r
where finished_at < now() - make_interval(secs => $3) and published_at is null and answer_at is null and due_at is null
  and not exists (select from leases l where l.id = r.lease)
  and (undelivered is not null or not exists (select from confirmed_leases c where c.lease = r.lease))
group by 1, 2 order by 3 desc

-- name: long_in_line
-- What could have begun so many seconds ago, by line, counted up to a bound, while nothing is paused or limited that
-- would hold it back.
select
  w.org, w.reason, w.number, extract(epoch from now() - w.first)::double precision as seconds,
  l.org_id is not null as has_line, l.asleep_for, coalesce(l.asleep_until > now(), false) as asleep
from (
  select waits_in as org, waits_for as reason, count(*) as number, min(begins_at) as first
  from (select waits_in, waits_for, begins_at from requests where waits_in is not null limit $1) as each_one
  where begins_at <= now() - make_interval(secs => $2)
  group by 1, 2
) as w
left join lines l on l.org_id = w.org
where not exists (
    select from pauses p
    where (p.scope = 'all' or (p.scope = 'org' and p.name = w.org)) and coalesce(p.ends_at > now(), true)
  )
  and not exists (
    select from limits_in_force f where f.scope = 'all' and (f.rate is not null or f.running is not null)
  )
  and not exists (select from limit_of(w.org) as own where own.rate is not null or own.running is not null)
order by 4 desc

-- name: long_dead
-- For how long the last one of the dead letters has been in custody, of those that are there for so many seconds.
select extract(epoch from now() - max(died_at))::double precision as seconds
from (
  select died_at from dead_letters where state = 'kept' and died_at < now() - make_interval(secs => $1)
  order by died_at desc limit $2
) as old having count(*) > 0

-- name: retention_behind
-- Finished requests, dead letters and rows of the audit that should have been deleted so long ago, counted up to a bound;
-- null: they are kept for ever.
select
  (
    select count(*) from (
      select finished_at from requests where received_at < now() - make_interval(secs => $1)
      order by received_at limit $4
    ) as old where finished_at < now() - make_interval(secs => $1)
  ) as requests,
  (
    select count(*) from (
      select kept_at from dead_letters where state = 'kept' and died_at < now() - make_interval(secs => $2)
      order by died_at limit $4
    ) as old where kept_at < now() - make_interval(secs => $2)
  ) as dead_letters,
  (select count(*) from (select from audit where at < now() - make_interval(secs => $3) limit $4) as old) as audit

-- name: oldest_session
-- The first session by its id, which begins with its day; and about how many there are, where Postgres knows.
select
  (
    select extract(epoch from now() - created_at) from (select created_at from sessions order by id limit 1) as first
  )::double precision as seconds,
  (
    select coalesce(sum(nullif(c.reltuples, -1)), 0)::bigint from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'sessions'::regclass
  ) as about

-- name: session_months_missing
-- Which of this month and the next are missing, and whether sessions are in no month because one was.
select
  array(
    select to_char(month, 'YYYY-MM') from generate_series(
      date_trunc('month', now() at time zone 'UTC'), now() at time zone 'UTC' + interval '1 month', interval '1 month'
    ) as month
    where not exists (
      select from session_partitions p
      where p.first_id <= to_char(month, '"ts_"YYMM') and p.end_id > to_char(month, '"ts_"YYMM')
    ) order by 1
  ) as months,
  (select count(*) from (select from sessions_other limit $1::integer) as outside) as outside

-- Of workers, settings and keys.

-- name: workers_seen
-- The workers that have been heard of since some time, or hold requests, as they started. $1: the lease of those of an
-- older version, which do not say.
select * from (
  select
    w.id, w.host || ':' || w.pid as place, w.version, w.handler, w.handler_build, w.settings, w.load,
    w.started_at,
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
-- Of the newest requests of an hour: how many calls for them took too long, how many have ended with
-- their first attempt, and how long these took.
with newest as (
  select request_id, case when attempt = 1 then finished_at - started_at end as took
  from requests where received_at > now() - interval '1 hour' order by received_at desc limit $1::integer
)
select
  count(*) as looked, count(took) as ended,
  coalesce(extract(epoch from percentile_cont(0.99) within group (order by took)), 0)::double precision as p99,
  (
    select count(*) from attempts a where a.request_id = any (array(select request_id from newest)) and a.kind = 'timeout'
  ) as timeouts
from newest
