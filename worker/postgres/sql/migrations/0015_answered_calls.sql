-- Changes that programs have asked for over HTTP, each with the key that they chose and the answer that they got, for a
-- day: whoever asks again gets that answer, and nothing is done twice. A new table alone: no request waits for this.
create table answered_calls (
  who      text not null check (length(who) <= 100),
  key      text not null check (length(key) between 1 and 200),
  asked    bytea not null check (length(asked) = 32), -- the hash of what was asked for
  begun_at timestamptz not null default now(),
  status   smallint,                                  -- of the answer; null: there is none, it is under way or was cut off
  answer   text,
  primary key (who, key),
  constraint answered_whole check ((status is null) = (answer is null))
);
create index answered_calls_by_time on answered_calls (begun_at);
