-- Every query of the worker, each under its name. A batch is one statement: one round trip, one commit.

-- name: accept
-- Inserts the requests that are new, claimed at once; says which. Also which batches before this worker is done with
-- ($15), unless their leases were taken over meanwhile: all under such a lease is confirmed, or waits on record.
-- Where the lease of this batch was taken over, by someone who cannot know of what is inserted now, nothing is.
-- One that is there already is found first: to insert it `on conflict` would write a record more of each. Where another
-- worker inserts the same one at this moment it is refused, and carried out again.
with released as (
  delete from leases where id = any ($15::bigint[]) and worker = $2 returning id
), confirmed as (
  insert into confirmed_leases (lease)
  select id from released where exists (select from requests r where r.lease = released.id)
), lease as (
  insert into leases (id, worker, lease_until)
  values ($1, $2, now() + make_interval(secs => $3))
  on conflict (id) do update set lease_until = excluded.lease_until where leases.worker = excluded.worker
  returning id
), begun as (
  insert into requests (
    request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id,
    reply_to, correlation_id, traceparent, worker, lease, deadline_at, started_at
  )
  select
    g.request_id, 'processing', 1, g.org_id, g.user_id, g.fingerprint, g.body, g.refusal, g.session_id,
    g.reply_to, g.correlation_id, g.traceparent, $2, lease.id, g.deadline_at, now()
  from lease, unnest(
    $4::uuid[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::text[], $14::timestamptz[]
  ) as g (
    request_id, org_id, user_id, fingerprint, body, refusal, session_id,
    reply_to, correlation_id, traceparent, deadline_at
  )
  where not exists (select from requests there where there.request_id = g.request_id)
  returning request_id
)
select
  coalesce(array_agg(request_id), '{}') as begun, exists (select from lease) as held,
  array(select id from released) as released
from begun

-- name: note
-- That responses were published which do not follow their batch, and which leases are done with, unless they were taken
-- over meanwhile. For those that this worker began ($4) it is noted that all under them is confirmed, or waits on
-- record. It is one statement: a lease that was another's ($2) tells of the responses under it until they are noted.
with published as (
  update requests
  set
    published_at = coalesce(requests.published_at, now()),
    due_at = null, answer_at = null, undelivered = null, undelivered_at = null
  from unnest($1::uuid[]) as given (request_id)
  where requests.request_id = given.request_id and requests.finished_at is not null and (
    requests.answer_at is not null or requests.published_at is null and (
      requests.undelivered is not null
      or not exists (select from confirmed_leases c where c.lease = requests.lease)
    )
  )
), released as (
  delete from leases where id = any ($2::bigint[] || $4::bigint[]) and worker = $3 returning id
), confirmed as (
  insert into confirmed_leases (lease)
  select id from released where id = any ($4) and exists (select from requests r where r.lease = released.id)
)
select array(select id from released) as released

-- name: known
-- What is on record for these ids.
select
  r.request_id, r.status, r.attempt, r.org_id, r.fingerprint, r.session_id, r.response, r.error_code,
  r.reply_to, r.correlation_id, r.traceparent, r.worker, r.lease, r.received_at,
  listed.published_at is not null as published
from requests r join listed_requests listed on listed.request_id = r.request_id
where r.request_id = any ($1::uuid[])

-- name: all_is_safe
-- Returns once all that was committed before is where a commit has to be. A try that nobody waits for any more is
-- cancelled, and a commit that waited for a standby then stands on this disk alone, where others see it. What writes
-- nothing waits for no standby: so this does.
select case
  when not current_setting('transaction_read_only')::boolean then pg_logical_emit_message(true, 'session-worker', '')
end as written

-- name: to_cancel
-- The same, and what a response to a cancelled request says.
select
  r.request_id, r.status, r.attempt, r.org_id, r.session_id, r.response, r.error_code,
  listed.published_at is not null as published,
  r.body::json -> 'payload' ->> 'casefile_id' as casefile_id, r.reply_to, r.correlation_id, r.traceparent,
  r.received_at
from requests r join listed_requests listed on listed.request_id = r.request_id
where r.request_id = any ($1::uuid[])

-- name: orgs_of
-- Whose these requests are. Nothing else is read of them: one that is large takes no longer.
select request_id, org_id from requests where request_id = any ($1::uuid[])

-- name: begin_pending
-- Nothing goes from pending to failed directly.
-- No lease holds it: it is looked at a minute later, in case its end or its response is still missing then.
update requests set
  status = 'processing', attempt = 1, worker = $1, started_at = now(),
  waits_in = null, waits_for = null, due_at = now() + interval '1 minute'
where request_id = any ($2::uuid[]) and status = 'pending'

-- name: redirect
-- Who asks last is answered: the way back of requests that are not finished yet.
update requests
set reply_to = given.reply_to, correlation_id = given.correlation_id, traceparent = given.traceparent
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
  as given (request_id, reply_to, correlation_id, traceparent)
where requests.request_id = given.request_id and requests.finished_at is null
returning requests.request_id

-- name: finish
-- Terminal status, response and session together, fenced by the attempt: a row that another
-- worker has claimed since is left alone, and is not among those returned.
-- A put-off or waiting one, which no lease holds, is looked at a minute later: by then its response has been published.
with finished as (
  update requests
  set
    status = g.status, response = g.response, error_code = g.error_code, finished_at = now(), worker = $1,
    due_at = case
      when requests.due_at is not null or requests.waits_in is not null then now() + interval '1 minute'
    end,
    waits_in = null, waits_for = null, runs_in = null
  from unnest(
    $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::double precision[], $16::timestamptz[], $17::text[]
  ) as g (
    request_id, attempt, status, response, error_code,
    session_id, org_id, user_id, name, session_status, casefile_id, assistant_id, phone_number_id,
    expiration_seconds, created_at, document
  )
  where requests.request_id = g.request_id and requests.attempt = g.attempt and requests.status = 'processing'
  returning
    requests.request_id, requests.reply_to, requests.correlation_id, requests.traceparent,
    g.session_id, g.org_id, g.user_id, g.name, g.session_status, g.casefile_id, g.assistant_id,
    g.phone_number_id, g.expiration_seconds, g.created_at, g.document
), made as (
  insert into sessions (
    id, request_id, org_id, user_id, name, status, casefile_id, assistant_id, phone_number_id,
    expiration_seconds, created_at, updated_at, expires_at, document
  )
  select
    session_id, request_id, org_id, user_id, name, session_status, casefile_id, assistant_id, phone_number_id,
    expiration_seconds, created_at, created_at, created_at + make_interval(secs => expiration_seconds),
    document::jsonb
  from finished
  where session_id is not null
)
select request_id, reply_to, correlation_id, traceparent from finished

-- name: retry_later
-- The next attempt is due after the delay, and no lease holds the request until then. What the last one failed of
-- is noted; where nothing is, no attempt was spent, and the same one goes on. If its span is recorded, the next one
-- follows from that.
with moved as (
  update requests set
    lease = null, runs_in = null, due_at = now() + make_interval(secs => g.delay),
    traceparent = coalesce(g.span, requests.traceparent)
  from unnest(
    $1::uuid[], $2::integer[], $3::double precision[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[]
  ) as g (request_id, attempt, delay, worker, kind, error_type, reason, place, span)
  where requests.request_id = g.request_id and requests.attempt = g.attempt and requests.status = 'processing'
  returning requests.request_id, requests.attempt, g.worker, g.kind, g.error_type, g.reason, g.place
), noted as (
  insert into attempts (request_id, attempt, worker, kind, error_type, reason, place)
  select request_id, attempt, worker, kind, error_type, reason, place from moved where kind is not null
  on conflict (request_id, attempt) do nothing
)
select request_id from moved

-- name: note_attempts
-- What the last attempts at these requests failed of, where none follows.
insert into attempts (request_id, attempt, worker, kind, error_type, reason, place)
select g.request_id, g.attempt, g.worker, g.kind, g.error_type, g.reason, g.place
from unnest(
  $1::uuid[], $2::integer[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[]
) as g (request_id, attempt, worker, kind, error_type, reason, place)
join requests r on r.request_id = g.request_id and r.attempt = g.attempt
on conflict (request_id, attempt) do nothing

-- name: next_due
-- Seconds until a put-off request is due: below zero when one has been for so long, null when there is none.
select extract(epoch from min(due_at) - now())::double precision as seconds from requests where due_at is not null

-- name: due_now
-- How many are due (counted up to a bound) and not begun, and for how many seconds the oldest one has been.
select
  (select count(*) from (select from requests where due_at <= now() limit $1) as waiting) as due,
  coalesce(extract(epoch from now() - min(due_at)), 0)::double precision as overdue
from requests where due_at <= now()

-- name: take_due
-- Requests whose next attempt is due, at most so many, into one lease of this worker's; also those whose deadline has
-- passed while they waited. Those that another worker is taking are passed by. What a try before, whose answer was
-- lost, has taken is among them. One whose organisation is paused or limited joins its line instead. $5: take only
-- what is too late.
with mine as (
  select r.request_id from leases l join requests r on r.lease = l.id
  where l.id = $1 and l.worker = $2 and r.published_at is null
), found as (
  select request_id, org_id, finished_at is null and coalesce(deadline_at > now(), true) as may_begin from requests
  where due_at <= now() and (not $5::boolean or deadline_at <= now() or finished_at is not null)
  order by due_at
  limit greatest(0, $4 - (select count(*) from mine))
  for update skip locked
), lined as (
  update requests set waits_in = coalesce(held_back.org_id, ''), waits_for = held_back.reason, begins_at = now(),
    due_at = requests.deadline_at
  from (
    select request_id, org_id, why_waiting(org_id) as reason from found
    where may_begin and (exists (select from pauses) or exists (select from limits))
  ) as held_back
  where requests.request_id = held_back.request_id and held_back.reason is not null
  returning requests.request_id, requests.waits_in, requests.begins_at
), due as (
  select request_id from found where request_id not in (select request_id from lined)
), lease as (
  insert into leases (id, worker, lease_until)
  select $1, $2, now() + make_interval(secs => $3) where exists (select from due)
  on conflict (id) do update set lease_until = excluded.lease_until where leases.worker = excluded.worker
  returning id
), taken as (
  update requests set
    lease = lease.id, due_at = null, waits_in = null, waits_for = null,
    status = case requests.status when 'pending' then 'processing' else requests.status end,
    attempt = case requests.status when 'pending' then 1 else requests.attempt end,
    worker = case requests.status when 'pending' then $2 else requests.worker end,
    started_at = coalesce(requests.started_at, now())
  from due, lease
  where requests.request_id = due.request_id
  returning requests.*
), r as (
  select * from taken where published_at is null
  union all
  select requests.* from mine join requests using (request_id)
), joined as (
  select join_lines(array_agg(waits_in), array_agg(begins_at)) from lined having count(*) > 0
)
select
  r.request_id, r.status, r.attempt, r.org_id, r.user_id, r.session_id, r.body, r.refusal, r.response, r.error_code,
  r.deadline_at, coalesce(r.deadline_at <= now(), false) as late, r.reply_to, r.correlation_id, r.traceparent, r.lease,
  r.received_at, r.worker, tried.*
from r left join lateral (
  select
    count(*) filter (where a.kind in ('raised', 'timeout')) as errors,
    count(*) filter (where a.kind = 'retry_later') as put_offs,
    count(*) filter (where a.kind = 'worker_lost') as crashes,
    min(a.at) filter (where a.kind in ('raised', 'timeout')) as since,
    coalesce(bool_or(a.attempt = r.attempt), false) as attempt_over
  from attempts a where a.request_id = r.request_id
) as tried on true
where (select count(*) from joined) >= 0 -- or else nobody would carry it out

-- name: wait
-- Inserts the requests that are new and may not begin yet, each into the line of its organisation; says which.
with waiting as (
  insert into requests (
    request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id,
    reply_to, correlation_id, traceparent, deadline_at, due_at, waits_in, waits_for, begins_at
  )
  select
    g.request_id, 'pending', 0, g.org_id, g.user_id, g.fingerprint, g.body, g.refusal, g.session_id,
    g.reply_to, g.correlation_id, g.traceparent, g.deadline_at, g.deadline_at, coalesce(g.org_id, ''), g.waits_for,
    coalesce(g.not_before, now())
  from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::text[], $13::timestamptz[]
  ) as g (
    request_id, org_id, user_id, fingerprint, body, refusal, session_id,
    reply_to, correlation_id, traceparent, deadline_at, waits_for, not_before
  )
  on conflict (request_id) do nothing
  returning request_id, waits_in, begins_at
)
select coalesce(array_agg(request_id), '{}') as waiting, join_lines(array_agg(waits_in), array_agg(begins_at))
from waiting

-- name: claim_waiting
-- Requests that waited and may begin, at most so many, into one lease of this worker's.
select
  r.request_id, r.status, r.attempt, r.org_id, r.user_id, r.session_id, r.body, r.refusal, r.response, r.error_code,
  r.deadline_at, coalesce(r.deadline_at <= now(), false) as late, r.reply_to, r.correlation_id, r.traceparent, r.lease,
  r.received_at, r.worker, tried.*
from claim_waiting($2, $1, $3, $4) as r left join lateral (
  select
    count(*) filter (where a.kind in ('raised', 'timeout')) as errors,
    count(*) filter (where a.kind = 'retry_later') as put_offs,
    count(*) filter (where a.kind = 'worker_lost') as crashes,
    min(a.at) filter (where a.kind in ('raised', 'timeout')) as since,
    coalesce(bool_or(a.attempt = r.attempt), false) as attempt_over
  from attempts a where a.request_id = r.request_id
) as tried on true

-- name: next_in_line
-- Seconds until something that waits may begin: zero or below when something may now, null when nothing waits.
select case
  when exists (select from pauses where scope = 'all' and coalesce(ends_at > now(), true))
    then (select extract(epoch from ends_at - now()) from pauses where scope = 'all')
  when exists (select from lines where asleep_until is null) then 0
  -- Of some that had as many running as they may, one has fewer now. For the others a second is enough.
  when exists (
    select from (select org_id from lines where asleep_for = 'running' limit 100) as l
    cross join lateral limit_of(l.org_id) as of_it
    where coalesce(of_it.running > (select count(*) from requests r where r.runs_in = l.org_id), true)
  ) then 0
  else (select extract(epoch from min(asleep_until) - now()) from lines where asleep_until < 'infinity')
end::double precision as seconds

-- name: lines_awake
-- The organisations that have something waiting which may begin.
select org_id from lines where asleep_until is null order by pass limit $1

-- name: count_waiting
-- How many wait, by reason, counted up to a bound, and for how many seconds the oldest could have begun.
select
  case
    when exists (select from pauses p where p.scope = 'all' and coalesce(p.ends_at > now(), true))
      or exists (
        select from pauses p where p.scope = 'org' and p.name = w.waits_in and coalesce(p.ends_at > now(), true)
      ) then 'paused'
    when w.waits_for = 'paused' or (w.waits_for = 'not_before' and w.since = 'due') then 'over_share'
    else w.waits_for
  end as reason,
  sum(w.number)::bigint as waiting,
  greatest(0, extract(epoch from now() - min(w.first)))::double precision as oldest_seconds
from (
  select
    waits_in, waits_for, case when begins_at <= now() then 'due' else 'later' end as since,
    count(*) as number, min(begins_at) as first
  from (select waits_in, waits_for, begins_at from requests where waits_in is not null limit $1) as each_one
  group by 1, 2, 3
) as w
group by 1

-- name: rules_edition
-- Changes with every change of limits and pauses, and when a pause ends by itself. And whether anybody is in line.
select
  version, (select count(*) from pauses where coalesce(ends_at > now(), true)) as pauses,
  exists (select from lines where asleep_until is null) as any_in_line
from rules

-- name: rules
-- What is in force.
select
  'limit' as kind, scope, name, running, rate, burst, weight,
  null as reason, null as paused_by, null::timestamptz as paused_at, null::timestamptz as ends_at
from limits_in_force
union all
select 'pause', scope, name, null, null, null, null, reason, paused_by, paused_at, ends_at
from pauses where coalesce(ends_at > now(), true)

-- name: settle_limits
-- The limits of a worker's settings, in the place of those that were there before.
with given as (
  select * from unnest(
    $1::text[], $2::text[], $3::integer[], $4::double precision[], $5::integer[], $6::double precision[]
  ) as g (scope, name, running, rate, burst, weight)
), gone as (
  delete from limits where source = 'setting' and not exists (
    select from given where given.scope = limits.scope and given.name = limits.name
  )
)
insert into limits (scope, name, source, running, rate, burst, weight, set_by)
select scope, name, 'setting', running, rate, burst, weight, 'WORKER_LIMITS' from given
on conflict (scope, name, source) do update set
  running = excluded.running, rate = excluded.rate, burst = excluded.burst, weight = excluded.weight, set_at = now()
where (limits.running, limits.rate, limits.burst, limits.weight)
  is distinct from (excluded.running, excluded.rate, excluded.burst, excluded.weight)

-- name: register
insert into workers (id, host, pid, version, handler, handler_build, settings)
values ($1, $2, $3, $4, $5, $6, $7::jsonb)
on conflict (id) do update set heartbeat = now()
returning number, heartbeat

-- name: heartbeat
-- The sign of life, which keeps the leases that this worker is busy with from running out.
-- An insert would use up a number each time, even where the worker is there. It brings along what the elected worker
-- adds up of all workers.
with alive as (
  update workers set heartbeat = now(), answered = $10::bigint[], load = $11::jsonb where id = $1 returning id
), forgotten as (
  insert into workers (id, host, pid, version, handler, handler_build, settings)
  select $1, $2::text, $3::integer, $4::text, $7::text, $8::text, $9::jsonb where not exists (select from alive)
  on conflict (id) do nothing
), kept as (
  update leases set lease_until = now() + make_interval(secs => $5)
  where worker = $1 and id = any ($6::bigint[])
)
select now() as heartbeat

-- name: peers
-- The other workers that live, and what each does with a request. One of an older version does not say.
select host, pid, handler, handler_build, settings from workers
where id <> $1 and heartbeat > now() - make_interval(secs => $2) and handler is not null
order by host, pid

-- name: census
-- How many workers live, and how many went silent a short time ago without a word: one that stops signs off.
select
  count(*) filter (where heartbeat > now() - lease) as live,
  count(*) filter (where heartbeat <= now() - lease and heartbeat > now() - lease - make_interval(secs => $2)) as silent
from (
  select heartbeat, make_interval(secs => coalesce((settings ->> 'lease_seconds')::double precision, $1)) as lease
  from workers
) as each_one

-- name: is_vacant
-- Whether nobody is elected. The lock is free again at the end of this statement.
select pg_try_advisory_xact_lock($1, hashtext(current_schema())) as vacant

-- name: tell_calls
-- What a worker's calls of the handler that take long have told ($2 to $7), and which of those have ended ($8, $9).
-- Another worker may have made a later attempt meanwhile. Nothing is written of a call that takes no time.
with ended as (
  delete from long_calls l using unnest($8::uuid[], $9::integer[]) as e (request_id, attempt)
  where l.request_id = e.request_id and l.attempt = e.attempt and l.worker = $1
)
insert into long_calls (request_id, attempt, worker, began_at, fraction, text, told_at)
select
  request_id, attempt, $1, now() - make_interval(secs => seconds), fraction, text,
  now() - make_interval(secs => told_seconds)
from unnest(
  $2::uuid[], $3::integer[], $4::double precision[], $5::double precision[], $6::text[], $7::double precision[]
) as t (request_id, attempt, seconds, fraction, text, told_seconds)
on conflict (request_id) do update set
  attempt = excluded.attempt, worker = excluded.worker, began_at = excluded.began_at, fraction = excluded.fraction,
  text = excluded.text, told_at = excluded.told_at
where long_calls.attempt <= excluded.attempt

-- name: sign_off
-- What people ask of its requests is kept.
with calls as (
  delete from long_calls where worker = $1
), gone as (
  delete from workers where id = $1 returning id, host, pid, version, handler, handler_build, started_at
), kept as (
  insert into ended_workers (id, host, pid, version, handler, handler_build, started_at)
  select id, host, pid, version, handler, handler_build, started_at from gone
  on conflict (id) do update set ended_at = excluded.ended_at
)
update leases set worker = null, lease_until = now(), spends_attempt = false where worker = $1

-- name: forget_workers
-- Those that were not heard of for so long have ended. Of these there are at most so many ($3), and none that ended
-- longer ago than requests are kept ($2; null: these are kept for ever).
with gone as (
  delete from workers where heartbeat < now() - make_interval(secs => $1)
  returning id, host, pid, version, handler, handler_build, started_at, heartbeat
), kept as (
  insert into ended_workers (id, host, pid, version, handler, handler_build, started_at, ended_at)
  select id, host, pid, version, handler, handler_build, started_at, heartbeat from gone
  on conflict (id) do update set ended_at = excluded.ended_at
), calls as (
  delete from long_calls where not exists (select from workers w where w.id = long_calls.worker)
)
delete from ended_workers where id in (
  select id from ended_workers where ended_at < now() - make_interval(secs => $2)
  union all
  (select id from ended_workers order by ended_at desc offset $3)
)

-- name: answer_later
-- Finished requests whose response is with nobody, and why. One for the response queue waits until there is room.
-- A requester's own queue that is full is tried ever more seldom, and given up after a day. One without a reason
-- was not tried: it is to go apart, at once. What came of a further copy, sent to whoever asked again from
-- elsewhere, is no news of the response that waits.
update requests
set
  undelivered = given.why,
  undelivered_at = case when given.why is not null then now() end,
  answer_way = case
    when requests.reply_to is null then requests.status
    when starts_with(requests.reply_to, $6) then 'direct'
    else 'reply'
  end,
  answer_at = case
    when given.why is null then now()
    when given.why = 'unpublishable' then null
    when requests.reply_to is null then requests.finished_at
    when given.why = 'refused' and now() - requests.finished_at < make_interval(secs => $3) then
      now() + (0.8 + 0.4 * random()) * least(greatest((now() - requests.finished_at) / 2,
        make_interval(secs => $4)), make_interval(secs => $5))
  end
from unnest($1::uuid[], $2::text[], $7::text[]) as given (request_id, why, reply_to)
where requests.request_id = given.request_id and requests.reply_to is not distinct from given.reply_to
  and requests.finished_at is not null and requests.published_at is null and (
    requests.answer_at is not null or requests.undelivered is not null
    or not exists (select from confirmed_leases c where c.lease = requests.lease)
  )
returning requests.request_id, requests.answer_at is not null as waits

-- name: claim_answers
-- What waits in this line and is due, the oldest first: other workers pass by what this one has in hand, for so
-- many seconds.
with due as (
  select request_id from requests
  where answer_way = $1 and answer_at <= now()
  order by answer_at limit $2 for update skip locked
)
update requests set answer_at = now() + make_interval(secs => $3)
from due where requests.request_id = due.request_id
returning
  requests.request_id, status, response, error_code, reply_to, correlation_id, traceparent, received_at,
  finished_at

-- name: keep_other_answers
-- Answers for the response queue that no row of a request holds, until there is room. One that a worker has in hand is
-- due anew: that worker may have sent it before this copy was asked for.
insert into other_answers (message_id, request_id, status, code, body, correlation_id, traceparent)
select * from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
on conflict (message_id) do update set answer_at = now() where other_answers.answer_at > now()

-- name: claim_other_answers
with due as (
  select message_id from other_answers
  where status = $1 and answer_at <= now()
  order by answer_at limit $2 for update skip locked
)
update other_answers set answer_at = now() + make_interval(secs => $3)
from due where other_answers.message_id = due.message_id
returning
  other_answers.message_id, request_id, status, code, body, correlation_id, traceparent, created_at,
  other_answers.answer_at as claimed

-- name: other_answers_tried
-- Those that were delivered are gone, but for those that are due anew since they were claimed; the others wait as before.
with gone as (
  delete from other_answers where message_id = any ($1::text[]) and answer_at = $3
)
update other_answers set answer_at = created_at where message_id = any ($2::text[])

-- name: forget_other_answers
-- Those that have waited for so long, some at a time: there is no bound to how many there are.
with old as (
  select message_id from other_answers
  where status in ('completed', 'failed') and answer_at < now() - make_interval(secs => $1)
  limit $2 for update skip locked
), gone as (
  delete from other_answers using old where other_answers.message_id = old.message_id returning other_answers.message_id
)
select count(*) as forgotten from gone

-- name: unanswered
-- How many responses wait, and for how long the oldest has. Not counted beyond some number: it says enough.
select state, count(*) as waiting, extract(epoch from now() - min(since))::double precision as oldest_seconds
from (
  (select undelivered as state, finished_at as since from requests
   where answer_at is not null and answer_way in ('completed', 'failed') limit $1)
  union all
  (select undelivered, finished_at from requests where answer_at is not null and answer_way = 'reply' limit $1)
  union all
  (select undelivered, finished_at from requests where answer_at is not null and answer_way = 'direct' limit $1)
  union all
  (select 'refused', created_at from other_answers limit $1)
) as waiting
where state is not null
group by state

-- name: take_over
-- Leases whose time is up: those that nobody holds, and, where $4 is this worker's last beat, those whose holder
-- has gone silent. Carried out late, after an outage of Postgres, it judges nobody: the others could not beat either.
-- One that another worker is taking is passed by, and so is one that this worker is still busy with.
with due as (
  select id, worker is not null as holder_silent, spends_attempt from leases
  where lease_until < now() and (worker is null or now() < $4::timestamptz + make_interval(secs => $2) / 2)
    and id <> all ($5::bigint[])
  order by lease_until
  limit $3
  for update skip locked
)
update leases
set worker = $1, lease_until = now() + make_interval(secs => $2), spends_attempt = true
from due
where leases.id = due.id
returning leases.id, due.holder_silent, due.spends_attempt

-- name: held
-- What such a lease holds and is not answered yet, and what was tried before.
select
  r.request_id, r.status, r.attempt, r.org_id, r.user_id, r.session_id, r.body, r.refusal, r.response, r.error_code,
  r.deadline_at, coalesce(r.deadline_at <= now(), false) as late, r.reply_to, r.correlation_id, r.traceparent, r.lease,
  r.received_at, r.worker, tried.*
from requests r left join lateral (
  select
    count(*) filter (where a.kind in ('raised', 'timeout')) as errors,
    count(*) filter (where a.kind = 'retry_later') as put_offs,
    count(*) filter (where a.kind = 'worker_lost') as crashes,
    min(a.at) filter (where a.kind in ('raised', 'timeout')) as since,
    coalesce(bool_or(a.attempt = r.attempt), false) as attempt_over
  from attempts a where a.request_id = r.request_id
) as tried on true
where r.lease = any ($1::bigint[]) and r.published_at is null
order by r.received_at

-- name: claim_again
-- A new attempt at requests whose last one came to nothing, by whoever holds their lease. It stays so until
-- this is done: the next one to take the lease over finds what was claimed. Where the last attempt ended with its
-- worker, that is noted.
with mine as (
  select id from leases where id = $4 and worker = $1 for update
), claimed as (
  update requests
  set status = 'processing', attempt = requests.attempt + 1, worker = $1, started_at = now()
  from mine, unnest($2::uuid[], $3::integer[], $5::uuid[], $6::boolean[]) as given (request_id, attempt, holder, lost)
  where requests.request_id = given.request_id and requests.attempt = given.attempt
    and requests.lease = mine.id and requests.status in ('pending', 'processing')
  returning requests.request_id, given.attempt, given.holder, given.lost
), noted as (
  insert into attempts (request_id, attempt, worker, kind, reason)
  select request_id, attempt, holder, 'worker_lost', $7 from claimed where lost
  on conflict (request_id, attempt) do nothing
)
select request_id from claimed

-- name: expire_sessions
with due as (
  select id from sessions where status = 'active' and expires_at <= now()
  order by expires_at limit $1 for update skip locked
)
update sessions set status = 'completed', updated_at = now() from due where sessions.id = due.id
returning sessions.id

-- name: retire_requests
select retired, reached from retire_requests(make_interval(secs => $1), $2, $3)

-- name: make_session_months
select make_session_months() as made

-- name: look_up
-- One request as people ask for it.
select
  r.request_id, r.status, r.attempt, r.org_id, r.user_id, r.session_id, r.response, r.error_code, r.reply_to,
  r.correlation_id, r.traceparent, r.deadline_at, r.received_at, r.started_at, r.due_at, r.finished_at, listed.published_at,
  r.undelivered, r.undelivered_at, r.answer_at, r.worker, l.lease_until, l.worker as lease_worker,
  w.reason as waits_for, w.until as waits_until, w.pause_reason, w.paused_by,
  (select t.request_id from retries t where t.retried_as = r.request_id) as retry_of,
  (select t.retried_as from retries t where t.request_id = r.request_id) as retried_as
from requests r
join listed_requests listed on listed.request_id = r.request_id
left join leases l on l.id = r.lease
left join waiting_requests w on w.request_id = r.request_id
where r.request_id = $1

-- name: history
select attempt, status, worker, at from request_transitions where request_id = $1
order by at, attempt, status = 'processing' desc

-- name: attempts_of
-- Why its attempts came to nothing.
select attempt, at, kind, error_type, reason, place, worker from attempts where request_id = $1 order by attempt

-- name: session_of
select
  id, request_id, org_id, user_id, name, status, casefile_id, assistant_id, phone_number_id,
  expiration_seconds, created_at, updated_at, expires_at, document
from sessions where request_id = $1

-- name: by_request_id
-- Requests whose ids lie between these, some at most.
select request_id, status, org_id, session_id, correlation_id, received_at from requests
where request_id between $1 and $2 order by request_id limit $3

-- name: by_session_id
-- Sessions whose ids begin with the first of these and are not beyond the second, with their requests, if
-- those have not been deleted as old.
select
  s.request_id, r.status, s.org_id, s.id as session_id, r.correlation_id,
  coalesce(r.received_at, s.created_at) as received_at
from sessions s left join requests r on r.request_id = s.request_id
where s.id between $1 and $2 and starts_with(s.id, $1) order by s.id limit $3

-- name: by_correlation
-- Requests whose correlation ids lie between these, but for those that are correlated by their own id: that finds them.
select request_id, status, org_id, session_id, correlation_id, received_at from requests
where correlation_id ~>=~ $1 and correlation_id ~<=~ $2 and correlation_id <> request_id::text
order by correlation_id using ~<~, received_at, request_id limit $3

-- name: by_failed_session
-- Failed requests for which a session id between these was reserved.
select request_id, status, org_id, session_id, correlation_id, received_at from requests
where error_code is not null and session_id ~>=~ $1 and session_id ~<=~ $2 order by received_at limit $3

-- name: workers
-- The workers that have been heard of within a day, and whether each lives: it was within a lease.
select
  id, host, pid,
  heartbeat > now() - make_interval(secs => coalesce((settings ->> 'lease_seconds')::double precision, $1)) as lives
from workers order by host, pid, heartbeat desc

-- name: pause
-- Pauses all, an organisation or a worker, in the place of a pause that is there; does nothing where the end is past.
-- $5: its end; $6: or how long it lasts. Pauses that have ended are cleared away, and those of workers long gone.
with before as (
  select reason, paused_by, paused_at, ends_at from pauses
  where scope = $1::text and name = $2::text and coalesce(ends_at > now(), true)
), given as (
  select coalesce(now() + $6::interval, $5::timestamptz) as ends_at
), old as (
  select scope, name from pauses p
  where (scope <> $1 or name <> $2) and (
    ends_at <= now() or (
      scope = 'worker' and paused_at < now() - interval '1 day'
      and not exists (select from workers w where w.id::text = p.name)
    )
  )
  for update skip locked
), gone as (
  delete from pauses using old where pauses.scope = old.scope and pauses.name = old.name
), made as (
  insert into pauses (scope, name, reason, paused_by, ends_at)
  select $1, $2, $3::text, $4::text, ends_at from given where coalesce(ends_at > now(), true)
  on conflict (scope, name) do update set
    reason = excluded.reason, paused_by = excluded.paused_by, paused_at = now(), ends_at = excluded.ends_at
  returning reason, paused_by, paused_at, ends_at
), noted as (
  insert into audit (who, action, reason, about)
  select
    paused_by, 'pause', reason,
    jsonb_build_object('scope', $1, 'name', $2, 'org', case when $1 = 'org' then $2 end, 'until', ends_at)
  from made
)
select
  reason, paused_by, paused_at, ends_at, (select before.reason from before) as old_reason,
  (select before.paused_by from before) as old_paused_by, (select before.paused_at from before) as old_paused_at,
  (select before.ends_at from before) as old_ends_at
from made

-- name: resume
with ended as (
  delete from pauses where scope = $1::text and name = $2::text
  returning reason, paused_by, paused_at, ends_at, coalesce(ends_at > now(), true) as held
), noted as (
  insert into audit (who, action, reason, about)
  select
    $3::text, 'resume', $4::text,
    jsonb_build_object(
      'scope', $1, 'name', $2, 'org', case when $1 = 'org' then $2 end, 'paused_by', paused_by, 'paused_at', paused_at
    )
  from ended where held
)
select * from ended

-- name: pauses
-- What is paused now, and of a worker where it runs. The pause of a worker ends with it.
select p.scope, p.name, p.reason, p.paused_by, p.paused_at, p.ends_at, w.host, w.pid
from pauses p left join workers w on p.scope = 'worker' and w.id::text = p.name
where coalesce(p.ends_at > now(), true) and (p.scope <> 'worker' or w.id is not null)
order by p.scope, p.paused_at, p.name

-- name: waiting_of
-- How many wait, of this organisation or (null) of all, counted up to a bound; and whether any request of this
-- organisation waits or is among the newest.
with found as (
  select
    (
      select count(*) from (select from requests where $1::text is null and waits_in is not null limit $2) as whole
    ) + (select count(*) from (select from requests where waits_in = $1 limit $2) as its) as waiting
)
select
  waiting,
  waiting > 0 or exists (
    select from (select org_id from requests order by received_at desc limit $3) as newest where org_id = $1
  ) as seen
from found

-- name: set_limit
-- Sets what is given of a limit, and keeps the rest of what was in force. A burst goes with its rate.
with made as (
  insert into limits as l (scope, name, source, running, rate, burst, weight, reason, set_by)
  select
    $1::text, $2::text, 'command', coalesce($3::integer, before.running), coalesce($4::double precision, before.rate),
    case when $4 is null then before.burst else $5::integer end, coalesce($6::double precision, before.weight),
    $7::text, $8::text
  from (select) as once left join limits_in_force before on before.scope = $1 and before.name = $2
  on conflict (scope, name, source) do update set
    running = coalesce($3, l.running), rate = coalesce($4, l.rate),
    burst = case when $4 is null then l.burst else $5 end, weight = coalesce($6, l.weight),
    reason = excluded.reason, set_by = excluded.set_by, set_at = now()
  returning running, rate, burst, weight
), noted as (
  insert into audit (who, action, reason, about)
  select
    $8, 'limits.set', $7,
    jsonb_build_object(
      'scope', $1, 'name', $2, 'org', case when $1 = 'org' then $2 end, 'running', running, 'rate', rate,
      'burst', burst, 'weight', weight
    )
  from made
)
select * from made

-- name: clear_limit
-- Removes a limit that was set by command; returns it, and the one of a setting that counts from now on.
with gone as (
  delete from limits where scope = $1::text and name = $2::text and source = 'command'
  returning source, running, rate, burst, weight
), noted as (
  insert into audit (who, action, reason, about)
  select
    $3::text, 'limits.clear', $4::text,
    jsonb_build_object(
      'scope', $1, 'name', $2, 'org', case when $1 = 'org' then $2 end, 'running', running, 'rate', rate,
      'burst', burst, 'weight', weight
    )
  from gone
)
select * from gone
union all
select source, running, rate, burst, weight from limits where scope = $1 and name = $2 and source = 'setting'

-- name: limits
-- The limits as they are set, and what waits and runs under those that are in force, counted up to a bound. The share
-- of an organisation is that beside all that have something waiting which may begin now.
with in_line as materialized (
  select sum(of_it.weight) as weight
  from (select org_id from lines where asleep_until is null order by pass limit $1) as l
  cross join lateral limit_of(l.org_id) as of_it
)
select
  l.scope, l.name, l.source, l.running, l.rate, l.burst, l.weight, l.reason, l.set_by, l.set_at,
  l.source = held.source as in_force,
  case when l.source = held.source and l.scope <> 'each' then (
    select count(*) from (select from requests r where l.scope = 'all' and r.waits_in is not null limit $1) as whole
  ) + (select count(*) from (select from requests r where l.scope = 'org' and r.waits_in = l.name limit $1) as its)
  end as waiting,
  case
    when l.source <> held.source then null
    when l.scope = 'all' and l.running is not null then (select count(*) from requests r where r.runs_in is not null)
    when l.scope = 'org' and (of_it.running is not null or exists (
      select from limits_in_force whole where whole.scope = 'all' and whole.running is not null
    )) then (select count(*) from requests r where r.runs_in = l.name)
  end as running_now,
  case when l.source = held.source and l.scope = 'org' then (
    select of_it.weight / case
      when lines.asleep_until is null then in_line.weight
      else coalesce(in_line.weight, 0) + of_it.weight
    end
    from lines cross join in_line where lines.org_id = l.name
  ) end as share
from limits l
join limits_in_force held on held.scope = l.scope and held.name = l.name
cross join lateral limit_of(l.name) as of_it
order by l.scope, l.name, l.source

-- name: fold_counts
select fold_counts($1)

-- name: keep_dead_letters
-- Takes dead letters into custody. One that is there already came again.
insert into dead_letters (
  id, body, sealed_by, size, properties, headers, reason, kind, message_id, app_id, user_id, exchange, routing_key,
  request_id, died_at
)
select
  g.id, g.body, g.sealed_by, g.size, g.properties::jsonb, g.headers::jsonb, g.reason, g.kind, g.message_id, g.app_id,
  g.user_id, g.exchange, g.routing_key, g.request_id, g.died_at
from unnest(
  $1::uuid[], $2::bytea[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::timestamptz[]
) as g (
  id, body, sealed_by, size, properties, headers, reason, kind, message_id, app_id, user_id, exchange, routing_key,
  request_id, died_at
)
on conflict (id) do nothing
returning id

-- name: count_dead_letters
-- How many are in custody, counted up to a bound: what was replayed or dropped takes no room.
select count(*) as kept from (select from dead_letters where state = 'kept' limit $1) as counted

-- name: retire_dead_letters
-- Deletes some that were kept for long enough (null: they are kept for ever), or were replayed or dropped long ago.
delete from dead_letters where id in (
  (
    select id from dead_letters
    where state = 'kept' and died_at < now() - make_interval(secs => $1) and kept_at < now() - make_interval(secs => $1)
    limit $3
  ) union all (
    select id from dead_letters where ended_at < now() - make_interval(secs => $2) limit $3
  )
)
returning state

-- name: forget_events
-- Deletes some events that could not be sent for as long as a request is kept.
with gone as (
  delete from unsent_events where number in (
    select number from unsent_events where at < now() - make_interval(secs => $1) order by number limit $2
  ) returning cardinality(numbers) as events
)
select coalesce(sum(events), 0)::bigint as events from gone
