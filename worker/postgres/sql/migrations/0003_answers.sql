-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
-- Responses that could not be delivered: they wait on record, and why is on record, too. Set only when a publish
-- comes to nothing: the way of most requests never touches these columns.
-- answer_at: when its response is to be tried again; null: it does not wait.
-- answer_way: the line that it waits in: completed or failed, the key under which it goes to the response queue, or
-- reply or direct, to a requester. Not the status itself, which every request's normal way changes: with that in an
-- index those updates would not stay on their page. Left as it was once nothing waits.
-- undelivered: why its response is with nobody, by what the broker said last; undelivered_at: when it said so.
-- Undelivered, but no answer_at and no published_at: given up. Cleared once the response is published.
alter table requests
  add column if not exists answer_at timestamptz,
  add column if not exists answer_way text,
  add column if not exists undelivered text,
  add column if not exists undelivered_at timestamptz;
drop index concurrently if exists answers_waiting;
-- Each line by itself: millions that wait in one are not read to find what another has. What waits for the response
-- queue has the time when it was finished in answer_at: the oldest goes first.
create index concurrently answers_waiting on requests (answer_way, answer_at) where answer_at is not null;
-- migrate: one transaction
-- There is nothing yet that they could find wanting, so nothing is looked through.
alter table requests
  add constraint answered_later_when_finished check (answer_at is null or finished_at is not null) not valid,
  add constraint answered_some_way
    check (answer_at is null or coalesce(answer_way, '') in ('completed', 'failed', 'reply', 'direct')) not valid,
  add constraint undelivered_is_known
    check (undelivered in ('unroutable', 'refused', 'unpublishable')) not valid,
  add constraint undelivered_has_time check ((undelivered is null) = (undelivered_at is null)) not valid;

-- Answers for the response queue that are no request's own response (a conflict) or a further copy of one.
create table other_answers (
  message_id     text primary key,
  request_id     uuid not null,
  status         text not null check (status in ('completed', 'failed')),
  code           text,
  body           text not null,
  correlation_id text,
  traceparent    text,
  created_at     timestamptz not null default now(),
  answer_at      timestamptz not null default now()
);
create index other_answers_by_time on other_answers (status, answer_at);
