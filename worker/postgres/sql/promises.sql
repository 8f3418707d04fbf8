-- What the checker of the promises reads, from outside of any worker.

-- name: requests
-- These requests as they stand now, which of their attempts failed, and what each waits for.
select
  r.request_id, r.status, r.attempt, r.session_id, r.response, r.error_code,
  array(select attempt from attempts where attempts.request_id = r.request_id) as failed,
  -- Before that migration nothing said why an attempt failed.
  coalesce((select r.received_at > applied_at from schema_migrations where number = 4), true) as says_why,
  case when r.waits_in is null then r.due_at end as put_off_until,
  w.reason as waits_for, w.until as waits_until, w.pause_reason, w.paused_by
from requests r left join waiting_requests w using (request_id)
where r.request_id = any ($1::uuid[])

-- name: transitions
-- Their histories, each in order: the end of a request comes last of what happened at one time.
select request_id, status, attempt, worker from request_transitions where request_id = any ($1::uuid[])
order by at, attempt, status in ('completed', 'failed')

-- name: sessions
-- The sessions of these requests, and those with one of these ids, whosesoever they are.
select request_id, id from sessions where request_id = any ($1::uuid[]) or id = any ($2::text[])
order by id

-- name: orphans
-- Sessions that no completed request stands behind. A conflict ($1) with a request whose record was deleted has
-- that request's session rightly.
select s.request_id, s.id, r.status from sessions s join requests r using (request_id)
where (r.status <> 'completed' or r.session_id <> s.id)
  and not (r.error_code is not distinct from $1 and r.session_id <> s.id)
