"""Says what each event of the log means: one place for the log's readers, and for `docs/log-events.md`."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_LAW = """
worker.starting (info): a worker begins: with the prefix, the handler and its build (`handler_build`), a
  digest of the settings that all workers should have alike (`settings_digest`), and the host and name of
  the `database`
worker.ready (info): all that it needs is there, and it takes requests
worker.stopping (info): a `signal` asked it to stop: it takes nothing more, and ends what it has begun
worker.stopped (info): it has ended in order
worker.minute (info): once a minute, of this worker: messages `received`, requests `completed` and `failed`
  in these `seconds`, within which time half of the answers (`p50_seconds`) and 99 % of them
  (`p99_seconds`) were there, as far as the buckets of `worker_end_to_end_seconds` tell, and the
  `retries_due` of all workers
workers.differ (warning): other workers of this prefix have another handler, another build of it, or other
  settings that should agree (`here_and_there`); at the start, and when it changes: [two handlers on one
  queue](handlers.md#two-handlers-on-one-queue)
workers.alike (info): none of them does any more
shards.shared (info): which shards this worker `reads` now, of how many `shards`, how many `readers` share
  them, and over how many requests are `spread`: [shards](scaling.md#shards)
worker.paused (warning): this worker begins nothing: it is paused itself (`scope` `worker`; it gives back
  what it has not begun), or all are (`all`; it goes on taking requests, which wait on record). With
  `reason`, `by` and `until`
worker.resumed (info): the pause has ended
rules.changed (info): pauses or limits were changed: how many there are
waiting.full (warning): `WORKER_MAX_WAITING` requests wait: what would have to wait stays in the queue,
  with all that is behind it
waiting.has_room (info): fewer wait
worker.not_ready (warning): with the reasons, as `/readyz`
worker.stopped_at_once (warning): a second signal; its leases run out
worker.grace_over (warning): a stop took longer than the grace; what is unfinished was given back
worker.stop_stuck (error): ten seconds after the grace it had still not stopped: code that heeds no
  cancellation, a handler's or ours. It was ended with exit code 70; its leases run out. `waits` says where
  each task waited
worker.sign_off_failed (warning): Postgres was away at the stop; its leases run out
work.failed (error): a long work that was begun in the console ended with an error; its page lets it go on
worker.died (warning): the supervisor restarts a worker; with its exit code
console.started (info): `session-worker console` serves its pages: at which host and port, for which prefix
console.stopped (info): it has ended in order
console.postgres_away (warning): the console cannot reach Postgres: its pages say why, and it tries again
  every other second
console.selection_left (warning): the console works no more on a selection, which is not done: its page
  goes on with it, or `session-worker selections continue`
console.selection_failed (error): an error in this program, with its traceback, while the console worked on
  a selection
console.checkup_failed (error): the same, while the doctor looked
console.failed (error): the same, while it answered a request
supervisor.started (info): the supervisor of `--processes N` starts its workers
supervisor.stopping (info): a `signal` asked it to stop: it has its workers stop
supervisor.stopped (info): all of them have ended, with these exit `codes`
request.waiting (debug): put in the line of its organisation, with the `reason`
request.processing (debug or info): claimed; info from the second attempt on
request.completed (info): finished, with its `session_id`; how long it took from the beginning of the
  attempt until it was on record (`took_ms`; with the built-in creation that of its batch), how long it had
  waited before that, since it was asked for (`waited_ms`), and its `path` ([end to
  end](metrics.md#end-to-end))
request.failed (info): finished with a failure: the same, with its `code`. A cancellation has no attempt:
  `took_ms` and `waited_ms` are null
request.retry (info): put off, with the reason and for how long
request.duplicate (info): a known id came again; `kind` says what was done
request.not_allowed (warning): the sender may not act for that organisation, or did not say who it is
  (`sender` null): with the `operation`; nothing was done. With `org_id` and `whose`: an organisation's
  request under an id that another one uses
request.lost (warning): another worker had claimed it; nothing was stored or published here
request.unreadable (warning): no request id in it, or it is a response; `dead_letter` is the message id in
  `sessions.dead`; with the `field` that is wrong first, the `app_id` and the `routing_key` that it came
  with, and how many `bytes` its body had
reader.started (info): the process that reads large and suspect messages, with its pid
reader.died (warning): it died over a message, `attempt` of 2; `deliveries` or the `request_id` say over
  which. At the second time the message is refused (`attempts_exhausted`), and the worker goes on
reader.unavailable (error): the process that reads large and suspect messages cannot be started; the
  delivery goes back to the broker
reader.failed (error): something unforeseen in reading a message, with its traceback; the delivery goes
  back to the broker
request.not_storable (error): Postgres refused this one; it was answered, the batch went on
request.looks_like_a_credential (warning): a field of a request, at `path`, looks like a credential and is
  [stored as it is](contract.md#secrets); each path once, at most ten in a minute
request.cannot_be_opened (error): its secrets need a key that is not in `WORKER_SEAL_KEYS`, or a newer
  version stored it; tried again later, without spending an attempt
cancel.too_late (info): a request was finished before its cancellation came
handler.opened (info): the handler's lifespan is open; with how long that took (`took_ms`)
handler.close_failed (error): it raised at its end; with the type of the `error`. The worker stops all the
  same
handler.close_cut (warning): it was not closed within the grace, and was cancelled
handler.failed (warning): the handler `raised`, or took too long (`kind` `timeout`); with `org_id`,
  `attempt`, its `build`, the type of the `error` and its `place`, file:line function, never its text, and
  how long the call took (`took_ms`)
handler.blocking (warning): the handler has held up the event loop for at least so many `seconds`, at this
  `place`: file:line function; each place once a minute at most. Of a loop that hangs it is told after 5 s,
  while it hangs
breaker.opened (warning): too many calls of the handler failed (`failures` of the last `of`, the setting
  `share`, the type of the last `error`): one request at a time until one succeeds; [the
  breaker](handlers.md#the-breaker)
breaker.closed (info): one succeeded, and all calls are made again; with `open_seconds`
retries.failed (error): something unforeseen while put-off requests were tried again, with its traceback;
  what was taken is taken over when its lease runs out
waiting.failed (error): the same, with requests that had waited
lease.taken_over (info): recovery works on a lease; `holder_silent` when its worker went silent
response.unroutable (warning): the reply queue is gone; the response stays readable with `session-worker
  status`. This and what is told of other queues that do not take: the first at once, then one line in half
  a minute for each queue, with how many (`responses`) and one `request_id` for an example
response.refused (warning): the reply queue is full, at a limit of its own; tried again ever more seldom,
  and given up after a day
response.unpublishable (warning): the broker closes each connection over this response, as over a
  direct-reply address that it cannot read; it stays readable with `session-worker status`
responses.no_queue (warning): the response exchange has no queue: these wait on record until it has
responses.refused (warning): the response queue is full: these wait on record until it has room
dead_letter.no_queue (warning): the dead-letter exchange has no queue: the delivery is held, and tried
  again
dead_letter.refused (warning): the queue of dead letters is full: the delivery is held, and tried again
dead_letter.unpublishable (warning): the message is larger than the broker takes: the delivery is held, and
  tried again
custody.full (warning): `WORKER_MAX_DEAD_LETTERS` are in Postgres: further dead letters stay in their
  queue, until there is room
custody.has_room (info): fewer are in Postgres, and dead letters are taken again
custody.misread (error): something unforeseen about a dead letter, with its traceback; its body is kept,
  and nothing else of it
dead_letters.retired (warning): dead letters older than `WORKER_DEAD_LETTER_DAYS` were deleted, with how
  many
dead_letters.forgotten (info): dead letters that were replayed or dropped a week ago were deleted, with how
  many
responses.sent_late (info): what waited on record for the response queue was sent
publish.interrupted (warning): published again until confirmed
events.forgotten (warning): events that could not be sent for `WORKER_RETENTION_DAYS` were deleted, with
  how many
client.slow_path (warning): aiormq is not the tested version: what relies on its inside is not used, and
  each message costs more
intake.consuming (info): requests are taken
intake.properties_unreadable (warning): the properties of a delivery cannot be read: it is read as if it
  had none
intake.full (warning): `WORKER_PREFETCH_BYTES` are held: what comes now is given back until there is room
topology.delivery_limit_low (warning): a queue was declared with a delivery limit, by an earlier version:
  [renewing a queue](operating.md#renewing-a-queue)
intake.cancel_unanswered (info): the channel was lost before the broker had ended the consumer; those
  deliveries come again
intake.flush_unanswered (info): the channel was lost before the broker had all that was settled; those
  deliveries come again
intake.settle_unsent (info): the channel was lost before these `deliveries` were settled; they come again
broker.lost (warning): with the part, the reason, and when it tries again
postgres.waiting (warning): Postgres is not there at the start: with the reason, and when it tries again
postgres.lost (warning): Postgres went away, or a statement does not get through: with the reason, for a
  lock who holds it. Once, however many statements wait
postgres.back (info): all that had failed have got through; with how long that took
management.away (warning): the management API of RabbitMQ does not tell, and why: only metrics need it
management.back (info): it tells again
sessions.expired (info): sessions whose lifetime is over, with how many
sessions.months_made (info): tables were made for the sessions of coming months, with how many
requests.retired (info): requests older than `WORKER_RETENTION_DAYS` were deleted, with how many
audit.retired (info): old rows of the audit were deleted, with how many
tracing.not_installed (warning): a collector is set, but the extra `tracing` is not installed: there are no
  traces
tracing.not_exported (warning): the collector does not take the spans, with the reason of the first time
tracing.exported_again (info): it takes them again
tracing.queue_full (warning): spans come faster than they can be exported, and some are lost; once in a
  worker's life
tracing.cut_short (warning): the collector was too slow at the stop: the last spans are lost
batch.failed (error): a bug, or something unforeseen in the work on a batch, with its traceback; the work
  is done again
recovery.failed (error): the same, in what is done for a worker that went silent
service.failed (error): the same, in what a worker does again and again: which `service` it was
"""
_EVENT = re.compile(r"^(\w+\.\w+) \(([a-z ]+)\): (.+(?:\n  .+)*)", re.MULTILINE)


class Event(NamedTuple):
    levels: tuple[str, ...]
    means: str


EVENTS: Mapping[str, Event] = {
    name: Event(tuple(levels.split(" or ")), " ".join(means.split()))
    for name, levels, means in _EVENT.findall(_LAW)
}
