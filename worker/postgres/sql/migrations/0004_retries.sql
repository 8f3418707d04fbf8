-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
-- When the next attempt at a put-off request is due. Null on a request's normal way, so that this index is empty
-- there and costs nothing. A finished request has it only if it was put off when somebody else finished it: then
-- its response is looked after at that time.
alter table requests add column if not exists due_at timestamptz;
drop index concurrently if exists requests_due;
create index concurrently requests_due on requests (due_at) where due_at is not null;
-- migrate: one transaction
-- Why an attempt came to nothing. An attempt that succeeds has no row here, and costs none; an attempt that has
-- one is over. Goes with its request.
create table attempts (
  request_id uuid not null references requests on delete cascade,
  attempt    integer not null check (attempt > 0),
  at         timestamptz not null default clock_timestamp(),
  worker     uuid,
  kind       text not null check (kind in ('raised', 'timeout', 'retry_later', 'worker_lost')),
  error_type text check (length(error_type) <= 200),
  reason     text check (length(reason) <= 500), -- a sentence of the worker's or of the handler's author
  place      text check (length(place) <= 500),  -- file:line function, the handler's innermost frame
  primary key (request_id, attempt)
);

create function refuse_attempt_change() returns trigger language plpgsql
  set search_path from current as $$
begin
  if tg_op = 'DELETE' and not exists (select from requests where request_id = old.request_id) then
    return old;  -- its request was deleted
  end if;
  raise exception 'attempts is append only: what an attempt failed of never changes'
    using errcode = 'check_violation';
end $$;

create trigger attempts_append_only before update or delete on attempts for each row
  execute function refuse_attempt_change();
create trigger attempts_keep before truncate on attempts
  execute function refuse_attempt_change();
