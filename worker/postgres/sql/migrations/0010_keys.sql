-- Which keys have sealed what is stored, and leave to seal it anew. Functions alone: nothing waits for this.

-- The names of the keys of all sealed texts in a JSON text, each once. A text of this form may also stand in a place
-- that holds no secret: where it matters, who asks looks at the places.
create function keys_in(content text) returns text[] language sql immutable as $$
  select case
    when strpos(content, '"sealed:v1:') = 0 then '{}'
    else array(
      select distinct split_part(part, ':', 1) from unnest((string_to_array(content, '"sealed:v1:'))[2:]) as part
      where part ~ '^[A-Za-z0-9_.-]{1,32}:' order by 1
    )
  end
$$;

-- A JSON text without what is in its sealed texts: two that are alike so say the same, but for how it is sealed.
create function without_sealed(content text) returns text language sql immutable as $$
  select regexp_replace(content, '"sealed:v1:[A-Za-z0-9_.-]{1,32}:[A-Za-z0-9+/]+=*"', '"sealed:v1:"', 'g')
$$;

-- As it was, but that the owner, and nobody else, may seal the secrets of a finished request anew.
create or replace function refuse_request_change() returns trigger language plpgsql
  set search_path from current as $$
declare
  but_for_the_body requests;
begin
  if tg_op = 'DELETE' then
    raise exception 'request % is %: only a finished request may be deleted', old.request_id, old.status
      using errcode = 'check_violation';
  elsif tg_op = 'INSERT' then
    raise exception 'request %: a request begins as pending, or as processing with attempt 1, not as % with attempt %',
      new.request_id, new.status, new.attempt using errcode = 'check_violation';
  elsif (old.status, old.attempt) is distinct from (new.status, new.attempt) then
    raise exception 'request %: % (attempt %) to % (attempt %) is no legal transition',
      old.request_id, old.status, old.attempt, new.status, new.attempt using errcode = 'check_violation';
  elsif old.finished_at is not null then
    but_for_the_body := new;
    but_for_the_body.body := old.body;
    if but_for_the_body is not distinct from old and without_sealed(new.body) = without_sealed(old.body)
      and has_table_privilege('requests'::regclass, 'trigger with grant option')
    then
      return new;
    end if;
    raise exception 'request % is %: the columns of a finished request never change, but for what is noted of its delivery',
      old.request_id, old.status using errcode = 'check_violation';
  end if;
  raise exception 'request %: request_id, session_id, fingerprint and received_at never change',
    old.request_id using errcode = 'check_violation';
end $$;
