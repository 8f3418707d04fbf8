-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
-- How many requests there are is kept, and not counted. Each statement that inserts, moves or deletes requests appends
-- one row here with what it has changed, in its own transaction, so none waits for another; see fold_counts. What is
-- folded and what is not yet are exact together, at any moment.
-- orgs: '' for none; codes: '' where none is failed. All four have one element for each kind of change.
create table if not exists count_changes (
  orgs     text[] not null,
  statuses text[] not null,
  codes    text[] not null,
  numbers  bigint[] not null
);
create table if not exists request_counts (
  org_id text,
  status text,
  code   text,
  number bigint not null,
  primary key (org_id, status, code)
) with (fillfactor = 50);
create table if not exists request_totals (
  status text,
  code   text,
  number bigint not null,
  primary key (status, code)
) with (fillfactor = 50);
truncate count_changes, request_counts, request_totals;

-- The bodies of these functions end no line with a semicolon: a statement would end there.
create or replace function record_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select request_id, 0, 'pending', worker from begun
  union all
  select request_id, attempt, status, worker from begun where status = 'processing'; insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(''::text), array_agg(number) from (
    select coalesce(org_id, '') as org_id, status, count(*) as number from begun group by 1, 2
  ) as each_kind having count(*) > 0; return null; end $$;

create or replace function record_transition() returns trigger language plpgsql
  security definer set search_path from current set enable_hashjoin = on set enable_nestloop = off as $$
begin
  with stepped as materialized (
    select
      is_now.request_id, is_now.attempt, is_now.status, is_now.worker, coalesce(is_now.org_id, '') as org_id,
      coalesce(is_now.error_code, '') as code, was.attempt as old_attempt, was.status as old_status,
      coalesce(was.org_id, '') as old_org_id
    from was join is_now using (request_id)
    where (is_now.status, is_now.attempt, is_now.org_id) is distinct from (was.status, was.attempt, was.org_id)
  ), noted as (
    insert into request_transitions (request_id, attempt, status, worker)
    select request_id, attempt, status, worker from stepped
    where (status, attempt) is distinct from (old_status, old_attempt)
  )
  insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(code), array_agg(number) from (
    select org_id, status, code, sum(number)::bigint as number from (
      select org_id, status, code, 1 as number from stepped
      union all
      select old_org_id, old_status, '', -1 from stepped
    ) as each_one group by 1, 2, 3 having sum(number) <> 0
  ) as each_kind having count(*) > 0; return null; end $$;

create or replace function count_deleted() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(code), array_agg(-number) from (
    select coalesce(org_id, '') as org_id, status, coalesce(error_code, '') as code, count(*) as number
    from gone group by 1, 2, 3
  ) as each_kind having count(*) > 0; return null; end $$;
revoke execute on function count_deleted() from public;
create or replace trigger requests_uncounted after delete on requests
  referencing old table as gone for each statement execute function count_deleted();

-- Each is of columns that are set at insert, or that only a request which fails gets: no update on a request's normal
-- way touches one.
drop index concurrently if exists requests_of_org;
create index concurrently requests_of_org on requests (org_id, received_at);
drop index concurrently if exists requests_by_correlation;
create index concurrently requests_by_correlation on requests (correlation_id text_pattern_ops)
  where correlation_id is not null;
drop index concurrently if exists requests_failed;
create index concurrently requests_failed on requests (received_at) where error_code is not null;
drop index concurrently if exists requests_failed_of_org;
create index concurrently requests_failed_of_org on requests (org_id, received_at) where error_code is not null;
drop index concurrently if exists requests_failed_by_code;
create index concurrently requests_failed_by_code on requests (error_code, received_at) where error_code is not null;
-- The session that was reserved for it. Of one that is completed, the session itself is found.
drop index concurrently if exists requests_failed_session;
create index concurrently requests_failed_session on requests (session_id text_pattern_ops)
  where error_code is not null;

-- The requests that are there. To build the last indexes took the end of each transaction that was at work when the
-- functions above were still others. All that this statement sees is counted by it, so that what it sees of the
-- changes is done with.
with gone as (
  delete from count_changes
), counted as (
  select coalesce(org_id, '') as org_id, status, coalesce(error_code, '') as code, count(*) as number
  from requests group by 1, 2, 3
), of_all as (
  insert into request_totals select status, code, sum(number) from counted group by 1, 2
)
insert into request_counts select org_id, status, code, number from counted;
-- migrate: one transaction
-- Adds what was appended to the counts, some rows at a time; returns how many. One worker does it at a time, and
-- readers see it done or not done.
create function fold_counts(most integer) returns integer language plpgsql
  security definer set search_path from current as $$
declare
  folded integer;
begin
  if not pg_try_advisory_xact_lock('count_changes'::regclass::oid::bigint) then
    return 0;
  end if;
  with gone as (
    delete from count_changes where ctid = any (array(select ctid from count_changes limit most))
    returning orgs, statuses, codes, numbers
  ), changes as (
    select org_id, status, code, sum(number) as number
    from gone, unnest(orgs, statuses, codes, numbers) as change (org_id, status, code, number)
    group by 1, 2, 3 having sum(number) <> 0
  ), of_orgs as (
    insert into request_counts select org_id, status, code, number from changes
    on conflict (org_id, status, code) do update set number = request_counts.number + excluded.number
  ), of_all as (
    insert into request_totals select status, code, sum(number) from changes group by 1, 2
    on conflict (status, code) do update set number = request_totals.number + excluded.number
  )
  select count(*) into folded from gone;
  return folded;
end $$;
revoke execute on function fold_counts(integer) from public;

-- The changes that are not folded yet, each by itself.
create view unfolded_changes as
  select change.org_id, change.status, change.code, change.number
  from count_changes, unnest(orgs, statuses, codes, numbers) as change (org_id, status, code, number);

-- A request as it is listed. state: where it stands, as people say it.
create view listed_requests as
  select
    r.request_id, r.org_id, r.user_id, r.attempt, r.error_code as code, r.session_id, r.correlation_id, r.reply_to,
    r.worker, r.lease, r.status, r.received_at, r.finished_at, r.waits_in, r.begins_at, r.due_at,
    case
      when r.finished_at is not null then r.status
      when r.waits_in is not null then 'waiting'
      when r.due_at is not null then 'retrying'
      else 'processing'
    end as state,
    case when r.published_at is not null then 'confirmed' else coalesce(r.undelivered, 'none') end as delivered,
    r.finished_at - r.received_at as took
  from requests r;

-- Why a request failed, or its last attempt did, in no more words than an attempt has; null where nothing has.
create function failure_of(request uuid) returns text language sql stable as $$
  select coalesce(
    (select a.reason from attempts a where a.request_id = request order by a.attempt desc limit 1),
    (
      select left(r.response::json ->> 'error', 500) from requests r
      where r.request_id = request and r.error_code is not null
    )
  )
$$;
