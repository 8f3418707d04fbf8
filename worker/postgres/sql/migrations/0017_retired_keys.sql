-- Keys that seal no more: nothing needs them, and no worker that has one in front may start. And sealing anew is called
-- rotating a key. A new table, and a small one: no request waits for this.
create table retired_keys (
  key        text primary key check (key ~ '^[A-Za-z0-9_.-]{1,32}$'),
  retired_at timestamptz not null default now(),
  who        text not null,
  reason     text not null
);
alter table works drop constraint works_kind_check;
update works set kind = 'keys.rotate' where kind = 'keys.reseal';
alter table works add constraint works_kind_check
  check (kind in ('dead.replay', 'keys.count', 'keys.rotate', 'retention.run'));
