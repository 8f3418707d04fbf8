-- Groups of failures that somebody has muted for a time: they are shown apart. A new table alone: no request waits for
-- this.
create table mutes (
  id       uuid primary key,     -- made from the four that the failures of a group have in common
  code     text not null,
  reason   text,
  place    text,                 -- file:line function of the handler
  build    text,
  why      text not null,
  muted_by text not null,
  muted_at timestamptz not null default now(),
  ends_at  timestamptz not null
);
