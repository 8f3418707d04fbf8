-- Dead letters in custody: workers take them from their queue, so that people can look at them, mend them and send
-- them again, without a delivery counted.
create table dead_letters (
  id           uuid primary key,   -- made from all that the message has: one that is delivered twice is kept once
  body         bytea not null,     -- sealed if the worker had a key
  sealed_by    text,               -- the name of that key; null: the body is in clear
  size         integer not null,   -- of the body in clear
  properties   jsonb not null,
  headers      jsonb not null,     -- see worker/messages/custody.py for those that JSON does not know
  reason       text not null,
  kind         text not null,      -- the reason without its numbers, and the shape of the body: to group by
  message_id   text,
  app_id       text,
  user_id      text,
  exchange     text,
  routing_key  text,
  request_id   uuid,               -- if one was found in it
  died_at      timestamptz not null,
  kept_at      timestamptz not null default now(),
  state        text not null default 'kept' check (state in ('kept', 'replayed', 'dropped')),
  ended_at     timestamptz,        -- when it was replayed or dropped
  ended_by     text,
  ended_reason text,
  sent_to      text,
  constraint ended_unless_kept check ((state = 'kept') = (ended_at is null) and (ended_at is null) = (ended_by is null)),
  constraint sent_if_replayed check ((state = 'replayed') = (sent_to is not null))
);
create index dead_letters_in_state on dead_letters (state, died_at);
create index dead_letters_ended on dead_letters (ended_at) where ended_at is not null;
create index dead_letters_of_request on dead_letters (request_id) where request_id is not null;
create index dead_letters_by_message_id on dead_letters (message_id) where message_id is not null;

-- What a filter finds; null leaves a column open. `part` is looked for in the reason, in either case.
create function dead_letters_that(
  in_state text, ids uuid[], of_app text, of_user text, of_kind text, part text, since timestamptz, until timestamptz
) returns setof dead_letters language sql stable as $$
  select * from dead_letters
  where state = in_state
    and (ids is null or id = any (ids))
    and (of_app is null or coalesce(app_id, '') = of_app)
    and (of_user is null or coalesce(user_id, '') = of_user)
    and (of_kind is null or kind = of_kind)
    and (part is null or strpos(lower(reason || ' ' || kind), lower(part)) > 0)
    and (since is null or died_at >= since)
    and (until is null or died_at < until)
$$;
