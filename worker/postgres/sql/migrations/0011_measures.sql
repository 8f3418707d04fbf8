-- What the console draws of the last hours, and how it is told: one worker writes a row every ten seconds.

create table measures (
  at         timestamptz primary key default now(),
  unfinished bigint not null,           -- requests on record, by the kept counts
  completed  bigint not null,
  failed     bigint not null,
  answered   bigint[] not null,         -- answers since the row before, by how long they took: worker.monitoring.metrics
  queued     integer,                   -- messages in the request queue; null: the broker does not tell
  unread     integer,                   -- in the response queue
  dead       integer,                   -- in the queue of dead letters
  oldest     double precision not null, -- seconds that the oldest request has not been finished
  due        integer not null,          -- put-off requests that are due
  overdue    double precision not null, -- seconds that the oldest of them has been due
  waiting    jsonb not null,            -- requests in line, by reason
  unanswered integer not null,          -- responses that wait for a queue
  builds     text[] not null            -- handlers and builds of the workers that live
);

-- Answers since its start, by how long they took. Null where a worker of an older version wrote the row.
alter table workers add column answered bigint[];
