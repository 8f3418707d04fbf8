-- Long works that an operator has begun: the process that does one notes here how far it is, anybody may stop it, and
-- anybody may let it go on. A new table alone: no request waits for this.
create table works (
  id          text primary key check (id ~ '^[0-9a-f]{8}$'),
  kind        text not null check (kind in ('dead.replay', 'keys.count', 'keys.reseal', 'retention.run')),
  options     jsonb not null default '{}',    -- all that it takes to go on; no secret
  chosen      uuid[] not null default '{}',   -- the dead letters that it is about
  who         text not null,
  reason      text,
  begun_at    timestamptz not null default now(),
  state       text not null check (state in ('running', 'stopped', 'failed', 'done')),
  runner      uuid,                           -- the one process that works on it
  runner_seen timestamptz,
  ended_at    timestamptz,
  trouble     text check (length(trouble) <= 500), -- why it failed
  progress    jsonb not null default '{}',
  constraint runs_by_somebody check ((state = 'running') = (runner is not null)),
  constraint failed_of_something check ((state = 'failed') = (trouble is not null))
);
create index works_by_time on works (begun_at);
