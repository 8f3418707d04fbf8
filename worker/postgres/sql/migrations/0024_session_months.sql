-- migrate: each of these alone, before the transaction: nobody waits meanwhile. May be repeated.
-- Sessions are kept by month, so that an old month is dropped as a whole. An id of a session begins with the day on
-- which its request was accepted, and the months are ranges of these ids. No row moves: all that is there, and what
-- comes until the month that begins in a month's time or later, is the first partition. See docs/decisions/0043.

-- A key over all months would have to name the month, so no index says any more that a request has one session. While
-- a request is on record its row says it. When that is deleted, its id comes here, and no session is made for it again.
create table if not exists used_ids (
  request_id uuid primary key
);

create or replace function note_used_ids() returns trigger language plpgsql
  security definer set search_path from current set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  insert into used_ids select g.request_id from gone g
  where g.status = 'completed' and not exists (select from used_ids u where u.request_id = g.request_id)
  order by g.request_id; return null; end $$;
revoke execute on function note_used_ids() from public;
-- To make it took the end of each transaction that deletes requests without it.
create or replace trigger requests_used after delete on requests
  referencing old table as gone for each statement execute function note_used_ids();

-- Those that were deleted before. In the order of the ids, so that the index is written from its beginning to its end.
insert into used_ids
select s.request_id from sessions s where not exists (select from requests r where r.request_id = s.request_id)
order by s.request_id
on conflict do nothing;

-- When the sessions of a month have changed last: a few ranges of pages are looked at, and not the rows.
drop index concurrently if exists sessions_by_change;
create index concurrently sessions_by_change on sessions using brin (updated_at);

-- What the first partition holds. It is checked here, beside all work, and not under the lock of the transaction.
alter table sessions drop constraint if exists sessions_before;
do $$ begin execute format(
  'alter table sessions add constraint sessions_before check (id < %L) not valid',
  to_char(now() at time zone 'UTC' + interval '2 months', '"ts_"YYMM')
); end $$;
alter table sessions validate constraint sessions_before;
-- migrate: one transaction
do $$
declare
  until text := substring(
    (select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'sessions'::regclass and conname = 'sessions_before')
    from 'ts_\d{4}'
  );
  before text := 'sessions_before_20' || substr(until, 4, 2) || '_' || substr(until, 6, 2);
  given record;
begin
  execute format('alter table sessions rename to %I', before);
  execute format('alter index sessions_pkey rename to %I', before || '_pkey');
  execute format('alter index sessions_request_id_key rename to %I', before || '_request_id_key');
  execute format('alter index sessions_to_expire rename to %I', before || '_to_expire');
  execute format('alter index sessions_by_change rename to %I', before || '_by_change');
  execute format(
    'create table sessions (like %I including defaults including constraints including comments, primary key (id))'
    ' partition by range (id)', before
  );
  alter table sessions drop constraint sessions_before;
  create index sessions_to_expire on sessions (expires_at) where status = 'active';
  create index sessions_by_change on sessions using brin (updated_at);
  execute format('alter table sessions attach partition %I for values from (minvalue) to (%L)', before, until);
  execute format('alter table %I drop constraint sessions_before', before);
  -- What belongs to no partition else: a session is never refused. Each month is made like this one.
  execute format('create table sessions_other (like %I including all)', before);
  alter table sessions attach partition sessions_other default;
  -- Who might work with the table may do so with all partitions of it, through the one name.
  for given in
    select acl.privilege_type as privilege, case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as role
    from pg_class c, aclexplode(c.relacl) acl where c.oid = before::regclass and acl.grantee <> c.relowner
    union all
    select format('%s (%I)', acl.privilege_type, a.attname), acl.grantee::regrole::text
    from pg_attribute a, aclexplode(a.attacl) acl where a.attrelid = before::regclass
  loop
    execute format('grant %s on sessions to %s', given.privilege, given.role);
    execute format('revoke all on %I from %s', before, given.role);
  end loop;
end $$;

-- A session is the one that its request reserved, if that is on record. If not, its request's id is used from now on.
create function refuse_second_session() returns trigger language plpgsql
  security definer set search_path from current set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  if exists (select from made m join used_ids u on u.request_id = m.request_id) then
    raise exception 'a session was made for this request before' using errcode = 'unique_violation';
  end if;
  if exists (
    select from made m left join requests r on r.request_id = m.request_id where r.session_id is distinct from m.id
  ) then
    if exists (select from made m join requests r on r.request_id = m.request_id where r.session_id <> m.id) then
      raise exception 'the id of a session is the one that its request reserved' using errcode = 'unique_violation';
    end if;
    insert into used_ids
    select m.request_id from made m where not exists (select from requests r where r.request_id = m.request_id);
  end if;
  return null;
end $$;
revoke execute on function refuse_second_session() from public;
create trigger sessions_single after insert on sessions
  referencing new table as made for each statement execute function refuse_second_session();

-- The months that there are, and the time before them: which ids each holds, and when it ends.
create view session_partitions as
  select
    p.name, p.is_month, case when p.is_month then to_char(p.ends - interval '1 month', '"ts_"YYMM') else '' end as first_id,
    to_char(p.ends, '"ts_"YYMM') as end_id, p.ends at time zone 'UTC' as ends_at
  from (
    select
      c.relname::text as name, not starts_with(c.relname::text, 'sessions_before') as is_month,
      to_date(right(c.relname::text, 7), 'YYYY_MM')
        + case when starts_with(c.relname::text, 'sessions_before') then interval '0' else interval '1 month' end as ends
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'sessions'::regclass and c.relname ~ '^sessions_(before_)?\d{4}_\d{2}$'
  ) as p;

-- Makes this month and the next two, if they are missing; returns how many it has made. A lock that somebody holds is not
-- waited for: it is for the next time then. What came for a month while it was missing moves into it, if that is little.
create function make_session_months() returns integer language plpgsql
  security definer set search_path from current set lock_timeout = '1s' as $$
declare
  made integer := 0;
  month date;
  first_id text;
  end_id text;
  new_name text;
begin
  for month in
    select each_one::date from generate_series(
      date_trunc('month', now() at time zone 'UTC'), now() at time zone 'UTC' + interval '2 months', interval '1 month'
    ) as each_one
    where not exists (
      select from session_partitions p
      where p.first_id <= to_char(each_one, '"ts_"YYMM') and p.end_id > to_char(each_one, '"ts_"YYMM')
    )
  loop
    first_id := to_char(month, '"ts_"YYMM');
    end_id := to_char(month + interval '1 month', '"ts_"YYMM');
    new_name := to_char(month, '"sessions_"YYYY_MM');
    lock table only sessions in share update exclusive mode;
    continue when to_regclass(quote_ident(new_name)) is not null; -- somebody else has just made it
    continue when (
      select count(*) > 10000 from (
        select from sessions_other s where s.id >= first_id and s.id < end_id limit 10001
      ) as waiting
    );
    execute format('create table %I (like sessions_other including all)', new_name);
    if exists (select from sessions_other s where s.id >= first_id and s.id < end_id) then
      lock table sessions_other in access exclusive mode;
      execute format(
        'with moved as (delete from sessions_other where id >= %L and id < %L returning *) insert into %I select * from moved',
        first_id, end_id, new_name
      );
    end if;
    execute format('alter table sessions attach partition %I for values from (%L) to (%L)', new_name, first_id, end_id);
    made := made + 1;
  end loop;
  return made;
exception when lock_not_available then
  return 0;
end $$;
revoke execute on function make_session_months() from public;

-- Why a partition may not be dropped yet; null: each session in it ended before this time, and no request is on record
-- that has one of them, or may get one.
create function keeps_sessions(partition text, before timestamptz) returns text language plpgsql stable
  security definer set search_path from current set enable_seqscan = off as $$
declare
  its session_partitions;
  found_one boolean;
begin
  select * into strict its from session_partitions p where p.name = partition;
  execute format('select exists (select from %I where status = ''active'')', its.name) into found_one;
  if found_one then
    return 'active';
  end if;
  execute format('select exists (select from %I where updated_at >= %L)', its.name, before) into found_one;
  if found_one then
    return 'young';
  end if;
  if exists (
    select from requests r
    where r.received_at < its.ends_at + interval '1 day' -- the clock of a worker says which day it is
      and r.session_id >= its.first_id and r.session_id < its.end_id and r.status <> 'failed'
  ) then
    return 'on record';
  end if;
  return null;
end $$;
revoke execute on function keeps_sessions(text, timestamptz) from public;

-- Drops a partition, if nothing keeps it, and says about how many sessions it had. Who writes sessions waits for a second
-- at the longest: if the lock is not to be had by then, `dropped` is null. Of the owner.
create function drop_sessions(partition text, before timestamptz, out dropped boolean, out sessions bigint)
  language plpgsql set search_path from current set lock_timeout = '1s' as $$
begin
  lock table only sessions in access exclusive mode;
  dropped := keeps_sessions(partition, before) is null;
  if dropped then
    select greatest(c.reltuples, 0) into sessions from pg_class c where c.oid = quote_ident(partition)::regclass;
    execute format('drop table %I', partition);
  end if;
exception when lock_not_available then
  dropped := null;
end $$;
revoke execute on function drop_sessions(text, timestamptz) from public;

select make_session_months();

comment on table used_ids is
  'the ids of requests that got a session and are no longer on record: for none of them a session is made again';
comment on column used_ids.request_id is 'the id of a request';
comment on table sessions is 'the sessions that were made, in partitions by the month of their ids';
comment on view session_partitions is 'the partitions of sessions: the months, and the time before them';
comment on column session_partitions.name is 'its name';
comment on column session_partitions.is_month is 'whether it is a month; else it is all that was there before';
comment on column session_partitions.first_id is 'the ids of its sessions are not below this';
comment on column session_partitions.end_id is 'and below this';
comment on column session_partitions.ends_at is 'when the month is over';
