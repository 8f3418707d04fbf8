-- What is asked and done about the tables themselves: which installation has them, which migrations are applied.

-- name: keep_one
-- On a connection.
select set_config($1, $2, false)

-- name: tell_events
-- On a connection: what it does with requests is told, by the triggers on them.
set session_worker.events = 'on'

-- name: backend
-- Who serves this connection.
select pg_backend_pid()

-- name: home
-- The schema that is used without further ado, mostly public, and who else has tables of our names in it.
select
  current_schema() as schema,
  has_schema_privilege(current_schema(), 'create') as may_create,
  exists (
    select from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relname = any ($1::text[])
  ) as taken

-- name: is_installed
-- Whether our tables are in this schema.
select count(*) = 3 from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'schema_migrations' and a.attname in ('number', 'checksum', 'applied_at')

-- name: may_use
select has_schema_privilege($1, 'usage')

-- name: make_session_months
-- If the tables are new enough to have months.
do $$ begin
  if to_regprocedure('make_session_months()') is not null then
    perform make_session_months();
  end if;
end $$

-- name: who
select current_user

-- name: has_mark
select to_regclass('installation') is not null

-- name: mark
select prefix, made_by from installation

-- name: claim
select claim_installation($1, $2)

-- name: claim_by_owner
-- Of `migrate`, before anybody else has been there.
insert into installation (prefix, made_by) values ($1, $2) on conflict do nothing

-- name: applied
select number, name, checksum from schema_migrations order by number

-- name: record
insert into schema_migrations (number, name, checksum) values ($1, $2, $3)

-- name: take_turn
-- Tried again and again, not waited for: an index that is built beside running transactions waits for all of them,
-- one that waits for this lock included.
select pg_try_advisory_lock($1)

-- name: end_turn
select pg_advisory_unlock($1)

-- name: roles
-- Who was given rights, and as what: a worker may update requests as a whole, a console makes selections and may not.
select
  r.rolname as role,
  case when bool_or(c.relname = 'requests') then 'worker' else 'console' end as kind
from pg_class c, aclexplode(c.relacl) as granted join pg_roles r on r.oid = granted.grantee
where granted.grantee <> c.relowner and (
  (c.oid = 'requests'::regclass and granted.privilege_type = 'UPDATE')
  or (c.oid = to_regclass('selections') and granted.privilege_type = 'INSERT')
)
group by r.rolname

-- name: is_owner
select pg_get_userbyid(relowner) = $1 from pg_class where oid = 'requests'::regclass

-- name: create_role
-- With the password that `name_role` was told.
do $$ begin
  execute format(
    'create role %I login password %L',
    current_setting('session_worker.role'), current_setting('session_worker.password')
  );
end $$

-- name: name_role
select set_config('session_worker.role', $1, true), set_config('session_worker.password', $2, true)

-- name: name_schema
select set_config('session_worker.schema', $1, true)

-- name: create_schema
do $$ begin execute format('create schema if not exists %I', current_setting('session_worker.schema')); end $$

-- name: drop_schema
do $$ begin execute format('drop schema if exists %I cascade', current_setting('session_worker.schema')); end $$

-- name: wait_shortly
select set_config('lock_timeout', $1, true)

-- name: record_table
create table if not exists schema_migrations (
  number integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
)

-- name: lock_holders
-- Who is at the head of the line that each of these backends waits in, and since when. The time of another
-- role's transaction is shown to members of pg_read_all_stats alone.
with recursive line as (
  select waiting, holder from unnest($1::integer[]) as waiting, unnest(pg_blocking_pids(waiting)) as holder
  union
  select line.waiting, ahead from line, unnest(pg_blocking_pids(line.holder)) as ahead
)
select
  line.waiting, line.holder, who.application_name, who.usename as role, who.xact_start as begun_at,
  who.state, who.query as statement, wanted.waitstart as waits_since, wanted.relation::regclass::text as relation
from line
left join pg_stat_activity as who on who.pid = line.holder
left join pg_locks as wanted on wanted.pid = line.waiting and not wanted.granted
where cardinality(pg_blocking_pids(line.holder)) = 0
order by line.waiting, who.xact_start nulls last

-- name: schema_exists
select exists (select from pg_namespace where nspname = $1)

-- name: wait_for_nobody
-- On a connection of somebody who only looks.
set lock_timeout = '2s';
set statement_timeout = '8s'
