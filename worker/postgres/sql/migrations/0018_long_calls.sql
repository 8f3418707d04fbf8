-- Calls of the handler that take long: how far each is, as it tells, for those who look at its request. A row is written
-- at most once a second, by its worker, and deleted when the call is over. Nobody reads it to decide anything, so it may be
-- lost with a crash of Postgres. A new table alone: no request waits for this.
create unlogged table long_calls (
  request_id uuid primary key,
  attempt    integer not null check (attempt > 0),
  worker     uuid not null,
  began_at   timestamptz not null,
  fraction   real check (fraction between 0 and 1), -- null: it does not say
  text       text check (length(text) <= 200),
  told_at    timestamptz                            -- null: it has told nothing
) with (fillfactor = 50);                           -- room for the next version of each row
