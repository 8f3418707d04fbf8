-- The workers that are gone: of a request it is told which worker had it, and with which build. They are in a table of
-- their own, so that nobody who asks for workers takes one of them for alive. A new table alone: nobody waits for this.
create table ended_workers (
  id            uuid primary key,
  host          text not null,
  pid           integer not null,
  version       text not null,
  handler       text,
  handler_build text,
  started_at    timestamptz not null,
  ended_at      timestamptz not null default now()  -- of one that was killed: its last sign of life
);
create index ended_workers_by_time on ended_workers (ended_at);

-- Each worker of which something is known. One that was forgotten, since it was frozen, and came back, is there twice.
create view known_workers as
  select id, host, pid, handler, handler_build from workers
  union all
  select id, host, pid, handler, handler_build from ended_workers;
