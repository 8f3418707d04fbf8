-- A request that goes the usual way costs two versions of its row and nothing else: the row tells its steps, and its batch
-- when its response was published. See docs/decisions/0033. Nobody who writes requests is at work at this moment, so that
-- no function goes on that knows the tables as they were. Nothing is looked through.
lock table requests in access exclusive mode;

-- Room on the page for one later version of each row, which is longer by its response: at 38 an eighth of them left it.
alter table requests set (fillfactor = 34);

-- When a batch was done, that is, when each response of it was confirmed or waits on record. Written by the worker that
-- began the lease, with the statement that deletes it; deleted with the last request of the batch.
create table confirmed_leases (
  lease        bigint primary key,
  confirmed_at timestamptz not null default now()
);

-- The steps that a row does not tell. Those of requests from before this migration are all here.
alter table request_transitions rename to recorded_transitions;
alter index request_transitions_pkey rename to recorded_transitions_pkey;

create view request_transitions as
  select request_id, attempt, status, worker, at from recorded_transitions
  union all
  select r.request_id, told.attempt, told.status, r.worker, told.at
  from requests r cross join lateral (
    values (0, 'pending', r.received_at), (1, 'processing', r.started_at), (r.attempt, r.status, r.finished_at)
  ) as told (attempt, status, at)
  where told.at is not null and not exists (
    select from recorded_transitions t
    where t.request_id = r.request_id and t.attempt = told.attempt and t.status = told.status
  );

create or replace function refuse_history_change() returns trigger language plpgsql
  set search_path from current as $$
begin
  if tg_op = 'DELETE' and not exists (select from requests where request_id = old.request_id) then
    return old;  -- it goes with its request
  end if;
  raise exception 'recorded_transitions is append only and written by the triggers on requests'
    using errcode = 'check_violation';
end $$;

-- The row tells how it began, if the times in it are those of this transaction, which has only begun.
create or replace function record_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into recorded_transitions (request_id, attempt, status, worker, at)
  select b.request_id, step.attempt, step.status, b.worker, clock_timestamp()
  from begun b cross join (values (0, 'pending'), (1, 'processing')) as step (attempt, status)
  where (b.received_at <> now() or b.started_at <> now() or clock_timestamp() > now() + interval '1 s')
    and step.attempt <= b.attempt;
  insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(''::text), array_agg(number) from (
    select coalesce(org_id, '') as org_id, status, count(*) as number from begun group by 1, 2
  ) as each_kind having count(*) > 0;
  return null;
end $$;

-- First what the row told until now and tells no longer. Then the steps that it does not tell. It tells the first attempt
-- if that begins at the time of this transaction, and the end of a request that was claimed when it was received, in its
-- first attempt, likewise; neither if the transaction began a second ago or earlier.
create or replace function record_transition() returns trigger language plpgsql
  security definer set search_path from current set enable_hashjoin = on set enable_nestloop = off as $$
begin
  with stepped as materialized (
    select
      is_now.request_id, is_now.attempt, is_now.status, is_now.worker, coalesce(is_now.org_id, '') as org_id,
      coalesce(is_now.error_code, '') as code, was.attempt as old_attempt, was.status as old_status,
      coalesce(was.org_id, '') as old_org_id, was.worker as old_worker, was.received_at,
      was.started_at as old_started_at,
      (is_now.worker, is_now.started_at) is distinct from (was.worker, was.started_at) as overwritten,
      (is_now.status, is_now.attempt) is distinct from (was.status, was.attempt) as taken,
      is_now.attempt = 1 and clock_timestamp() <= now() + interval '1 s' and case
        when is_now.finished_at is null then is_now.started_at = now() and is_now.received_at <= now()
        else is_now.finished_at = now() and is_now.started_at <= now() and is_now.started_at = is_now.received_at
      end as told
    from was join is_now using (request_id)
    where (is_now.status, is_now.attempt, is_now.worker, is_now.started_at, is_now.org_id)
      is distinct from (was.status, was.attempt, was.worker, was.started_at, was.org_id)
  ), recorded as (
    insert into recorded_transitions (request_id, attempt, status, worker, at)
    select s.request_id, before.attempt, before.status, s.old_worker, before.at
    from stepped s cross join lateral (
      values (0, 'pending', s.received_at), (1, 'processing', s.old_started_at)
    ) as before (attempt, status, at)
    where s.overwritten and before.at is not null
    union all
    select request_id, attempt, status, worker, clock_timestamp() from stepped where taken and told is not true
    on conflict do nothing
  )
  insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(code), array_agg(number) from (
    select org_id, status, code, sum(number)::bigint as number from (
      select org_id, status, code, 1 as number from stepped
      union all
      select old_org_id, old_status, '', -1 from stepped
    ) as each_one group by 1, 2, 3 having sum(number) <> 0
  ) as each_kind having count(*) > 0;
  return null;
end $$;

-- With a request goes its history, and with the last one of a batch what is noted of that.
create or replace function count_deleted() returns trigger language plpgsql
  security definer set search_path from current set enable_seqscan = off as $$
begin
  delete from recorded_transitions where request_id = any (array(select request_id from gone));
  delete from confirmed_leases c
  where c.lease = any (array(select distinct lease from gone where lease is not null))
    and not exists (select from requests r where r.lease = c.lease);
  insert into count_changes
  select array_agg(org_id), array_agg(status), array_agg(code), array_agg(-number) from (
    select coalesce(org_id, '') as org_id, status, coalesce(error_code, '') as code, count(*) as number
    from gone group by 1, 2, 3
  ) as each_kind having count(*) > 0;
  return null;
end $$;

-- As it was, but that the trigger on deletion takes the history along.
create or replace function retire_requests(
  age interval, most integer, since timestamptz, out retired integer, out reached timestamptz
) language plpgsql
  security definer set search_path from current
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  least_age interval := coalesce((select kept_at_least from installation), '1 day');
  before timestamptz;
  seen integer;
  candidates uuid[];
begin
  if not has_table_privilege(session_user, 'requests', 'trigger with grant option') then
    age := greatest(age, least_age, interval '0');
  end if;
  before := now() - age;
  select count(*), max(received_at), array_agg(request_id order by request_id) filter (where finished_at < before)
  into seen, reached, candidates
  from (
    select request_id, received_at, finished_at from requests
    where received_at > coalesce(since, '-infinity') and received_at < before
    order by received_at fetch first (most) rows with ties  -- a batch has one time, and is passed by as one
  ) as oldest;
  with old as (
    select request_id from requests where request_id = any (candidates) for update skip locked
  ), deleted as (
    delete from requests using old where requests.request_id = old.request_id returning requests.request_id
  )
  select count(*) into retired from deleted;
  if seen < most then
    reached := null;
  end if;
end $$;

-- As it was, with when its response was published: the row says it, or else its batch.
create or replace view listed_requests as
  select
    r.request_id, r.org_id, r.user_id, r.attempt, r.error_code as code, r.session_id, r.correlation_id, r.reply_to,
    r.worker, r.lease, r.status, r.received_at, r.finished_at, r.waits_in, r.begins_at, r.due_at,
    case
      when r.finished_at is not null then r.status
      when r.waits_in is not null then 'waiting'
      when r.due_at is not null then 'retrying'
      else 'processing'
    end as state,
    case
      when r.published_at is not null then 'confirmed'
      when r.undelivered is not null then r.undelivered
      when r.answer_at is null and exists (select from confirmed_leases c where c.lease = r.lease) then 'confirmed'
      else 'none'
    end as delivered,
    r.finished_at - r.received_at as took,
    case
      when r.published_at is not null then r.published_at
      when r.answer_at is null and r.undelivered is null then (
        select c.confirmed_at from confirmed_leases c where c.lease = r.lease
      )
    end as published_at
  from requests r;

comment on table recorded_transitions is
  'the steps of requests that their rows do not tell: see request_transitions. Triggers alone write it';
comment on column recorded_transitions.request_id is 'the request';
comment on column recorded_transitions.attempt is 'the attempt that it was at';
comment on column recorded_transitions.status is 'what it became';
comment on column recorded_transitions.worker is 'the worker that did it';
comment on column recorded_transitions.at is 'when';
comment on table confirmed_leases is 'the batches that are done: each response of theirs was confirmed, or waits on record';
comment on column confirmed_leases.lease is 'the batch';
comment on column confirmed_leases.confirmed_at is 'when that was noted';
comment on view request_transitions is
  'the history: each change of a request''s status, as its row tells it or as it was recorded';
comment on column request_transitions.request_id is 'the request';
comment on column request_transitions.attempt is 'the attempt that it was at';
comment on column request_transitions.status is 'what it became';
comment on column request_transitions.worker is 'the worker that did it';
comment on column request_transitions.at is 'when';
comment on column requests.published_at is
  'when the broker confirmed its response, if the row says it and not its batch: see listed_requests.published_at';
comment on column listed_requests.published_at is 'when the broker confirmed its response';
