-- One row per request: its state, and the response once there is one.
-- Nothing that a request's normal way updates is indexed, so those updates stay on their page (HOT).
create table requests (
  request_id     uuid primary key,
  status         text not null default 'pending'
                 check (status in ('pending', 'processing', 'completed', 'failed')),
  attempt        integer not null default 0 check (attempt >= 0),
  org_id         text,
  user_id        text,
  fingerprint    bytea not null,            -- tells a repeated request from another one with its id
  body           text,                      -- the request as accepted, its secrets sealed
  refusal        text,                      -- why it was refused at the door: there is no body then
  session_id     text not null,             -- reserved at acceptance, the same on every attempt
  response       text,                      -- every copy that is published has these bytes
  error_code     text,
  reply_to       text,
  correlation_id text,
  traceparent    text,
  worker         uuid,                      -- who claimed it last
  lease          bigint,                    -- the batch that holds it: leases.id
  deadline_at    timestamptz,
  received_at    timestamptz not null default now(),
  started_at     timestamptz,
  finished_at    timestamptz,
  published_at   timestamptz,

  constraint body_or_refusal      check (num_nonnulls(body, refusal) = 1),
  constraint pending_is_unstarted check ((status = 'pending') = (attempt = 0)),
  constraint started_when_claimed check ((status = 'pending') = (started_at is null)),
  constraint finished_has_time    check ((status in ('completed', 'failed')) = (finished_at is not null)),
  constraint finished_has_response check ((status in ('completed', 'failed')) = (response is not null)),
  constraint failed_has_code      check ((status = 'failed') = (error_code is not null)),
  constraint published_when_finished check (published_at is null or finished_at is not null)
) with (fillfactor = 30); -- room on the page for the two later versions of each row: at 70 half of them left it

-- Set once, at insert, and changed by recovery alone: finds what an expired lease held.
create index requests_by_lease on requests (lease);
-- For retention; costs next to nothing to keep, since rows arrive in this order.
create index requests_by_arrival on requests using brin (received_at);

-- Append only: written by the triggers on requests and by nothing else.
create table request_transitions (
  request_id uuid not null,
  attempt    integer not null,
  status     text not null,
  worker     uuid,
  at         timestamptz not null default clock_timestamp(),
  primary key (request_id, attempt, status)
);

-- The Session record: what is searched for is a column, the rest is the document.
create table sessions (
  id                 text primary key,
  request_id         uuid not null unique,  -- one request, at most one session, ever
  org_id             text not null,
  user_id            text,
  name               text,
  status             text not null check (status in ('active', 'completed')),
  casefile_id        text,
  assistant_id       text,
  phone_number_id    text,
  expiration_seconds double precision not null check (expiration_seconds between 60 and 2592000),
  created_at         timestamptz not null,
  updated_at         timestamptz not null,
  expires_at         timestamptz not null,
  document           jsonb not null
);
create index sessions_to_expire on sessions (expires_at) where status = 'active';

create table workers (
  id         uuid primary key,
  number     bigint generated always as identity, -- the upper half of the ids of its leases
  host       text not null,
  pid        integer not null,
  version    text not null,
  started_at timestamptz not null default now(),
  heartbeat  timestamptz not null default now()
);

-- What a worker holds on one batch. Gone once every request in it is answered.
-- One whose time is up is taken over: its owner stopped, or a retry is due.
create table leases (
  id             bigint primary key,        -- given by the worker, so that it knows its own again
  worker         uuid,                      -- null: held by nobody, free at lease_until
  lease_until    timestamptz not null,
  spends_attempt boolean not null default true -- false: given back unharmed by a worker that stopped
);
create index leases_by_time on leases (lease_until);

-- The guard: an illegal edge is refused, whoever writes it.
create function refuse_request_change() returns trigger language plpgsql as $$
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
  end if;
  raise exception 'request %: request_id, session_id, fingerprint, received_at and a stored response never change',
    old.request_id using errcode = 'check_violation';
end $$;

create trigger requests_begin before insert on requests for each row
  when (not (new.status = 'pending' or (new.status = 'processing' and new.attempt = 1)))
  execute function refuse_request_change();

create trigger requests_edge before update on requests for each row
  when (
    new.request_id <> old.request_id or new.session_id <> old.session_id
    or new.fingerprint <> old.fingerprint or new.received_at <> old.received_at
    or (old.response is not null and new.response is distinct from old.response)
    or (old.error_code is not null and new.error_code is distinct from old.error_code)
    or (old.finished_at is not null and new.finished_at is distinct from old.finished_at)
    or not (
      (new.status = old.status and new.attempt = old.attempt)
      or (old.status = 'pending' and new.status = 'processing' and new.attempt = 1)
      or (old.status = 'processing' and new.status = 'processing' and new.attempt = old.attempt + 1)
      or (old.status = 'processing' and new.status in ('completed', 'failed') and new.attempt = old.attempt)
    )
  )
  execute function refuse_request_change();

create trigger requests_keep before delete on requests for each row
  when (old.status in ('pending', 'processing'))
  execute function refuse_request_change();

-- The history: each transition is a row, also when a request is changed by hand.
-- A request that need not wait is inserted as processing; it was accepted and claimed in one step.
create function record_beginning() returns trigger language plpgsql as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  select request_id, 0, 'pending', worker from begun
  union all
  select request_id, attempt, status, worker from begun where status = 'processing';
  return null;
end $$;

create function record_transition() returns trigger language plpgsql as $$
begin
  insert into request_transitions (request_id, attempt, status, worker)
  values (new.request_id, new.attempt, new.status, new.worker);
  return null;
end $$;

create trigger requests_begun after insert on requests
  referencing new table as begun for each statement execute function record_beginning();

create trigger requests_stepped after update on requests for each row
  when (new.status <> old.status or new.attempt <> old.attempt)
  execute function record_transition();

create function refuse_history_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' and not exists (select from requests where request_id = old.request_id) then
    return old;  -- retention removes the history after its request
  end if;
  raise exception 'request_transitions is append only and written by the triggers on requests'
    using errcode = 'check_violation';
end $$;

create trigger transitions_by_trigger_only before insert on request_transitions for each row
  when (pg_trigger_depth() = 0) execute function refuse_history_change();
create trigger transitions_append_only before update or delete on request_transitions for each row
  execute function refuse_history_change();
create trigger transitions_keep before truncate on request_transitions
  execute function refuse_history_change();

-- Old requests go together with their history, some at a time. Their sessions stay.
create function retire_requests(age interval, most integer) returns integer language plpgsql as $$
declare
  retired uuid[];
begin
  with old as (
    select request_id from requests
    where received_at < now() - age and finished_at < now() - age
    order by received_at limit most for update skip locked
  ), gone as (
    delete from requests using old where requests.request_id = old.request_id returning requests.request_id
  )
  select coalesce(array_agg(request_id), '{}') into retired from gone;
  delete from request_transitions where request_id = any (retired);
  return cardinality(retired);
end $$;
