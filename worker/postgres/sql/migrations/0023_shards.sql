-- The queues that requests are spread over, and who reads them: `WORKER_SHARDS`. New tables, and small ones: no request
-- waits for this. Without shards nothing is ever in them.
create table shards (
  number smallint primary key check (number between 2 and 64) -- the first is the request queue itself
);

-- A worker renews its row every second. Nobody needs one that is older than some seconds, so they may be lost with a
-- crash of Postgres.
create unlogged table shard_readers (
  worker      uuid primary key,
  started_at  timestamptz not null,
  spread      smallint not null,
  serves      smallint[] not null,
  holds_until timestamptz not null
) with (fillfactor = 50); -- room for the next version of each row

comment on table shards is 'the shards beside the request queue that there are: all are read, also those that get no more';
comment on column shards.number is 'its number; the name of its queue ends with it';
comment on table shard_readers is 'the workers that share out the shards among themselves; empty where there are none';
comment on column shard_readers.worker is 'its id';
comment on column shard_readers.started_at is 'when the worker has started';
comment on column shard_readers.spread is 'over how many shards requests go, by its WORKER_SHARDS; that of the youngest worker is in force';
comment on column shard_readers.serves is 'the shards that it reads now';
comment on column shard_readers.holds_until is 'until then it is counted; it says so anew every second';
