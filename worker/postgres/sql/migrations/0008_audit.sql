-- What operators did, and to what. New tables alone: no request waits for this, and none becomes dearer.

-- One row for each change by an operator, in the transaction of the change. Append only.
create table audit (
  number  bigint generated always as identity primary key,
  at      timestamptz not null default clock_timestamp(),
  who     text not null check (who <> ''),     -- as they call themselves
  role    name not null default session_user,  -- as Postgres knows them
  action  text not null check (action <> ''),
  reason  text,
  about   jsonb not null default '{}',
  touched bigint not null default 1 check (touched >= 0)
);
create index audit_by_time on audit (at);

create function refuse_audit_change() returns trigger language plpgsql
  set search_path from current as $$
begin
  if tg_op = 'DELETE' and current_setting('session_worker.retiring', true) = 'audit' then
    return old;  -- by retire_audit
  end if;
  raise exception 'audit is append only: what an operator did stays on record'
    using errcode = 'check_violation';
end $$;
create trigger audit_append_only before update or delete on audit for each row
  execute function refuse_audit_change();
create trigger audit_keep before truncate on audit
  execute function refuse_audit_change();

-- Requests that an operator chose at one time, to do one thing to them. It is frozen: what matches later is not in it.
-- prepared: nothing was done yet; running: its runner was seen lately; stopped: it may go on.
create table selections (
  id          text primary key check (id ~ '^[0-9a-f]{8}$'),
  action      text not null check (action in ('retry', 'resend', 'cancel')),
  chosen_by   jsonb not null,                 -- the filter or the ids, as they were given
  options     jsonb not null default '{}',
  who         text not null,
  reason      text,
  rate        double precision not null check (rate > 0), -- requests a second
  made_at     timestamptz not null default now(),
  state       text not null default 'prepared' check (state in ('prepared', 'running', 'stopped', 'done')),
  runner      uuid,                           -- the one process that works on it
  runner_seen timestamptz,
  ended_at    timestamptz,
  chosen      bigint not null default 0,      -- kept, not counted
  done        bigint not null default 0,
  skipped     bigint not null default 0,
  failed      bigint not null default 0,
  constraint runs_by_somebody check ((state = 'running') = (runner is not null))
);
create index selections_by_time on selections (made_at);

create table selection_items (
  selection  text not null references selections on delete cascade,
  request_id uuid not null,
  state      text not null default 'waiting' check (state in ('waiting', 'done', 'skipped', 'failed')),
  outcome    text check (length(outcome) <= 500),
  at         timestamptz,
  primary key (selection, request_id)
);
create index selection_items_by_request on selection_items (request_id);
create index selection_items_left on selection_items (selection, request_id) where state = 'waiting';

-- A request that failed is retried once, as another one; the record of the old one stays as it is. What failed of that
-- one is another retry.
create table retries (
  request_id uuid primary key,
  retried_as uuid not null unique,
  selection  text not null,
  at         timestamptz not null default now()
);
create index retries_by_time on retries (at);

-- Retries, and whether each was sent: one is noted first. What could not be sent, or was stopped before, may be retried
-- by another selection, as the same request.
create view retries_noted as
  select t.request_id, t.retried_as, t.selection, t.at,
    not coalesce(i.state = 'failed' or (i.state = 'waiting' and s.state = 'stopped'), false) or exists (
      select from selection_items d join selections by on by.id = d.selection
      where d.request_id = t.request_id and d.state = 'done' and by.action = 'retry'
    ) as sent
  from retries t
  left join selections s on s.id = t.selection
  left join selection_items i on i.selection = t.selection and i.request_id = t.request_id;

-- Deletes some of what is older. Selections that are not done with stay, and so do links of requests on record.
create function retire_audit(age interval, most integer) returns integer language plpgsql
  security definer set search_path from current as $$
declare
  least_age interval := coalesce((select kept_at_least from installation), '1 day');
  gone integer;
  also integer;
begin
  if not has_table_privilege(session_user, 'audit', 'trigger with grant option') then
    age := greatest(age, least_age, interval '0');
  end if;
  perform set_config('session_worker.retiring', 'audit', true);
  delete from audit where number in (
    select number from audit where at < now() - age order by at limit most for update skip locked
  );
  get diagnostics gone = row_count;
  perform set_config('session_worker.retiring', '', true);
  delete from selections where id in (
    select id from selections where made_at < now() - age and state in ('prepared', 'done')
    order by made_at limit 10 for update skip locked
  );
  get diagnostics also = row_count;
  gone := gone + also;
  delete from retries where request_id in (
    select t.request_id from retries t
    where t.at < now() - age and not exists (
      select from requests r where r.request_id in (t.request_id, t.retried_as)
    )
    order by t.at limit most for update skip locked
  );
  get diagnostics also = row_count;
  return gone + also;
end $$;
revoke execute on function retire_audit(interval, integer) from public;
