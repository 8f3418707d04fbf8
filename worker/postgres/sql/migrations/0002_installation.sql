-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
drop index concurrently if exists requests_by_time;
-- For retention. The order of insertion, so it grows at its end only; no update touches it.
create index concurrently requests_by_time on requests (received_at);
-- migrate: one transaction
-- A block range index finds nothing once pages that became free are filled again.
drop index requests_by_arrival;

-- Whose tables these are: one row, once a worker or `migrate` has said so.
create table installation (
  only_one      boolean primary key default true check (only_one),
  prefix        text not null,
  made_by       text not null, -- migrate, worker, up or demo
  kept_at_least interval not null default '1 day', -- what others than the owner cannot delete
  made_at       timestamptz not null default now()
);
grant select on installation to public; -- whoever may use the schema may know whose it is

-- Every function finds its names in this schema alone, whatever its caller has put into another. What writes and
-- deletes acts for the owner of the tables, so that a worker's role needs no such rights, and cannot use them.

-- The installation's prefix: the one given, if nobody was there before.
create function claim_installation(wanted text, maker text) returns text language plpgsql
  security definer set search_path from current as $$
begin
  insert into installation (prefix, made_by) values (wanted, maker) on conflict do nothing;
  return (select prefix from installation);
end $$;
revoke execute on function claim_installation from public;

-- Also for a role that has been given more than it needs: none but the owner can hand rights on to others, and the
-- functions below act for the owner.
create function refuse_stranger() returns trigger language plpgsql set search_path from current as $$
begin
  raise exception '% refuses % by %: triggers write the history, and retire_requests deletes what is old',
    tg_table_name, lower(tg_op), current_user using errcode = 'insufficient_privilege';
end $$;
create trigger requests_by_retention before delete on requests for each statement
  when (not has_table_privilege('requests'::regclass, 'trigger with grant option'))
  execute function refuse_stranger();
create trigger transitions_by_owner before insert or update or delete on request_transitions for each statement
  when (not has_table_privilege('request_transitions'::regclass, 'trigger with grant option'))
  execute function refuse_stranger();

create or replace function refuse_request_change() returns trigger language plpgsql
  set search_path from current as $$
begin
  if tg_op = 'DELETE' then
    raise exception 'request % is %: only a finished request may be deleted', old.request_id, old.status
      using errcode = 'check_violation';
  elsif tg_op = 'INSERT' then
    raise exception 'request %: a request begins as pending, or as processing with attempt 1, not as % with attempt %',
      new.request_id, new.status, new.attempt using errcode = 'check_violation';
  elsif (old.status, old.attempt) is distinct from (new.status, new.attempt) then
    raise exception 'request %: % (attempt %) to % (attempt %) is no legal transition',
      old.request_id, old.status, old.attempt, new.status, new.attempt using errcode = 'check_violation';
  elsif old.finished_at is not null then
    raise exception 'request % is %: the columns of a finished request never change, but for what is noted of its delivery',
      old.request_id, old.status using errcode = 'check_violation';
  end if;
  raise exception 'request %: request_id, session_id, fingerprint and received_at never change',
    old.request_id using errcode = 'check_violation';
end $$;

-- Not looked at where only published_at, lease or the like is noted: by far the most rows of all updates.
drop trigger requests_edge on requests;
create trigger requests_edge before update of
  request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id, response, error_code,
  reply_to, correlation_id, traceparent, worker, deadline_at, received_at, started_at, finished_at
  on requests for each row
  when (
    new.request_id <> old.request_id or new.session_id <> old.session_id
    or new.fingerprint <> old.fingerprint or new.received_at <> old.received_at
    or (
      old.finished_at is not null
      and (
        old.status, old.attempt, old.org_id, old.user_id, old.body, old.refusal, old.response, old.error_code,
        old.reply_to, old.correlation_id, old.traceparent, old.worker, old.deadline_at, old.started_at, old.finished_at
      ) is distinct from (
        new.status, new.attempt, new.org_id, new.user_id, new.body, new.refusal, new.response, new.error_code,
        new.reply_to, new.correlation_id, new.traceparent, new.worker, new.deadline_at, new.started_at, new.finished_at
      )
    )
    or not (
      (new.status = old.status and new.attempt = old.attempt)
      or (old.status = 'pending' and new.status = 'processing' and new.attempt = 1)
      or (old.status = 'processing' and new.status = 'processing' and new.attempt = old.attempt + 1)
      or (old.status = 'processing' and new.status in ('completed', 'failed') and new.attempt = old.attempt)
    )
  )
  execute function refuse_request_change();

create or replace function record_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select request_id, 0, 'pending', worker from begun
  union all
  select request_id, attempt, status, worker from begun where status = 'processing';
  return null;
end $$;

create or replace function record_transition() returns trigger language plpgsql
  security definer set search_path from current set enable_hashjoin = on set enable_nestloop = off as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select is_now.request_id, is_now.attempt, is_now.status, is_now.worker
  from was join is_now using (request_id)
  where (is_now.status, is_now.attempt) is distinct from (was.status, was.attempt);
  return null;
end $$;

drop trigger requests_stepped on requests;
create trigger requests_stepped after update on requests
  referencing old table as was new table as is_now for each statement execute function record_transition();

-- They write as the owner, whatever calls them: nobody else may make a trigger of them, on a table of his own.
revoke execute on function record_beginning(), record_transition() from public;

create or replace function refuse_history_change() returns trigger language plpgsql
  set search_path from current as $$
begin
  if tg_op = 'DELETE' and not exists (select from requests where request_id = old.request_id) then
    return old;  -- retention removes the history after its request
  end if;
  raise exception 'request_transitions is append only and written by the triggers on requests'
    using errcode = 'check_violation';
end $$;

-- Old requests go together with their history, some at a time. Their sessions stay. Looks at the next ones after
-- `since` in the order of arrival, whether they may go or not, and says how far it got; nothing when that was the
-- end. So a batch costs the same however many there are, and however many were deleted before it.
create function retire_requests(
  age interval, most integer, since timestamptz, out retired integer, out reached timestamptz
) language plpgsql
  security definer set search_path from current
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  least_age interval := coalesce((select kept_at_least from installation), '1 day');
  before timestamptz;
  seen integer;
  candidates uuid[];
  gone uuid[];
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
  select coalesce(array_agg(request_id), '{}') into gone from deleted;
  delete from request_transitions where request_id = any (gone);
  retired := cardinality(gone);
  if seen < most then
    reached := null;
  end if;
end $$;
revoke execute on function retire_requests(interval, integer, timestamptz) from public;

-- By hand: until it returns 0.
create or replace function retire_requests(age interval, most integer) returns integer language plpgsql
  security invoker set search_path from current as $$
declare
  done integer := 0;
  step integer;
  since timestamptz;
begin
  loop
    select retired, reached into step, since from retire_requests(age, most - done, since);
    done := done + step;
    exit when since is null or done >= most;
  end loop;
  return done;
end $$;
revoke execute on function retire_requests(interval, integer) from public;
