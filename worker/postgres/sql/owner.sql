-- What operators do as the owner of the tables: a worker's role may not.

-- Of keys. What has changed since it was read stays as it is, and so does what somebody is at work on: nobody waits in
-- a circle.

-- name: reseal_texts
-- $7: of `requests` or of `sessions`; only that part is carried out. The texts have to say the same before and after, but
-- for how their secrets are sealed.
with given as (
  select request_id, before, anew from unnest($1::uuid[], $2::text[], $3::text[]) as g (request_id, before, anew)
  where without_sealed(before) = without_sealed(anew)
), mine as (
  select r.request_id, given.anew from given join requests r on r.request_id = given.request_id and r.body = given.before
  where $7::text = 'requests' for no key update of r skip locked
), theirs as (
  select s.request_id, given.anew::jsonb as anew
  from given join sessions s on s.request_id = given.request_id and s.document = given.before::jsonb
  where $7 = 'sessions' for no key update of s skip locked
), bodies as (
  update requests set body = mine.anew from mine where requests.request_id = mine.request_id
  returning requests.request_id as id
), documents as (
  update sessions set document = theirs.anew from theirs where sessions.request_id = theirs.request_id
  returning sessions.request_id as id
), sealed as (
  select id from bodies union all select id from documents
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $4::text, 'keys.rotate', $5::text, $6::jsonb, count(*) from sealed having count(*) > 0
)
select id from sealed

-- name: reseal_dead_letters
-- $7: the key that has sealed them now.
with mine as (
  select d.id, given.anew
  from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as given (id, before, anew)
  join dead_letters d on d.id = given.id and d.body = given.before
  for no key update of d skip locked
), sealed as (
  update dead_letters set body = mine.anew, sealed_by = $7::text from mine where dead_letters.id = mine.id
  returning dead_letters.id
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $4::text, 'keys.rotate', $5::text, $6::jsonb, count(*) from sealed having count(*) > 0
)
select id from sealed

-- name: retire_key
-- Notes that a key seals no more. No row comes back: it was retired before.
with retired as (
  insert into retired_keys (key, who, reason) values ($1::text, $2::text, $3::text) on conflict do nothing returning key
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $2, 'keys.retire', $3, $4::jsonb, 0 from retired
)
select key from retired

-- Of retention.

-- name: drop_sessions
-- Drops a month of sessions, if all of it ended before $2. One row of the audit. `dropped` is null where somebody holds
-- the lock.
with gone as (
  select dropped, sessions from drop_sessions($1::text, $2::timestamptz)
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $3::text, 'retention.sessions', $4::text, $5::jsonb || jsonb_build_object('month', $1), sessions
  from gone where dropped
)
select dropped, sessions from gone

-- name: retire_sessions
-- Of the next sessions after $1 that belong to no month: deletes those that ended before $2 and whose request was
-- deleted as old. One row of the audit. No row comes back: that was the end.
with page as (
  select id, request_id, status = 'completed' and updated_at < $2::timestamptz as ended
  from (
    (
      select id, request_id, status, updated_at from sessions
      where id > $1::text and id < coalesce((select end_id from session_partitions where not is_month), '')
      order by id limit $3::integer
    )
    union all
    (select id, request_id, status, updated_at from sessions_other where id > $1 order by id limit $3)
  ) as monthless
  order by id limit $3
), old as (
  select s.id from page join sessions s on s.id = page.id
  where page.ended and not exists (select from requests r where r.request_id = page.request_id)
  for update of s skip locked
), gone as (
  delete from sessions using old where sessions.id = old.id returning sessions.id
), noted as (
  insert into audit (who, action, reason, about, touched)
  select $4::text, 'retention.sessions', $5::text, $6::jsonb, count(*) from gone having count(*) > 0
)
select
  count(*) as looked, max(id) as reached, (select count(*) from gone) as gone,
  count(*) filter (
    where ended and exists (select from requests r where r.request_id = page.request_id)
  ) as kept
from page having count(*) > 0
