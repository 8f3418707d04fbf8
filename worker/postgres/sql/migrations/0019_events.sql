-- What requesters are told of each step of a request: it is written with the step, in its transaction, and deleted when
-- the broker has it. A new table, and triggers that do nothing unless a worker with WORKER_EVENTS has asked for it on its
-- connection: without that no request waits for this, and nothing is written.

-- One row for each statement that takes steps; all but the first two columns have one element for each event.
-- There is no cursor that moves past a row: one that is committed late is found when it can be seen.
create table unsent_events (
  number      bigint primary key, -- of the first event in it
  at          timestamptz not null default clock_timestamp(),
  numbers     bigint[] not null,
  request_ids uuid[] not null,
  kinds       text[] not null,
  attempts    integer[] not null,
  orgs        text[] not null,
  codes       text[] not null,
  reasons     text[] not null,
  untils      timestamptz[] not null
);

-- Whoever takes the next step of a request waits for the one before, which holds the row: so the numbers of a request
-- grow with its steps, and where a step can be seen, those before it can.
create sequence event_numbers;

create function tell_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  insert into unsent_events (number, numbers, request_ids, kinds, attempts, orgs, codes, reasons, untils)
  select
    min(number), array_agg(number), array_agg(request_id), array_agg(kind), array_agg(attempt), array_agg(org_id),
    array_agg(null::text), array_agg(reason), array_agg(until)
  from (
    select nextval('event_numbers') as number, told.* from (
      select 1 as place, request_id, 'accepted' as kind, 0 as attempt, org_id, null as reason, null::timestamptz as until
      from begun
      union all
      select
        2, request_id, case when waits_in is null then 'processing' else 'waiting' end, attempt, org_id, waits_for,
        case when waits_in is not null and begins_at > now() then begins_at end
      from begun where status = 'processing' or waits_in is not null
      order by place
    ) as told
  ) as numbered having count(*) > 0;
  return null;
end $$;

-- The row as it was says which step this is: `retry_later` alone puts off what is being worked on; what is only ended,
-- as a cancellation does with a request that waits, is under no lease and is not told as processing.
create function tell_step() returns trigger language plpgsql
  security definer set search_path from current set enable_hashjoin = on set enable_nestloop = off as $$
begin
  insert into unsent_events (number, numbers, request_ids, kinds, attempts, orgs, codes, reasons, untils)
  select
    min(number), array_agg(number), array_agg(request_id), array_agg(kind), array_agg(attempt), array_agg(org_id),
    array_agg(error_code), array_agg(reason), array_agg(until)
  from (
    select
      nextval('event_numbers') as number, request_id, kind, attempt, org_id, error_code,
      case kind
        when 'waiting' then waits_for
        when 'retrying' then (
          select a.reason from attempts a where a.request_id = step.request_id and a.attempt = step.attempt
        )
        when 'failed' then left(response::json ->> 'error', 500)
        when 'cancelled' then left(response::json ->> 'error', 500)
      end as reason,
      case
        when kind = 'retrying' then due_at
        when kind = 'waiting' and begins_at > now() then begins_at
      end as until
    from (
      select is_now.*, case
        when is_now.finished_at is not null then case
          when was.finished_at is not null then null
          when is_now.error_code = 'cancelled' then 'cancelled'
          else is_now.status
        end
        when is_now.waits_in is not null then case when was.waits_in is null then 'waiting' end
        when (is_now.status, is_now.attempt) is distinct from (was.status, was.attempt) then
          case when is_now.lease is not null then 'processing' end
        when was.due_at is null and is_now.due_at is not null then 'retrying'
      end as kind
      from was join is_now using (request_id)
    ) as step
    where kind is not null
  ) as told having count(*) > 0;
  return null;
end $$;

-- They write as the owner, whatever calls them: nobody else may make a trigger of them, on a table of his own.
revoke execute on function tell_beginning(), tell_step() from public;

create trigger requests_tell_beginning after insert on requests
  referencing new table as begun for each statement
  when (current_setting('session_worker.events', true) = 'on') execute function tell_beginning();
create trigger requests_tell_step after update on requests
  referencing old table as was new table as is_now for each statement
  when (current_setting('session_worker.events', true) = 'on') execute function tell_step();
