-- What each table, view and column holds: for whoever looks, and for docs/tables.md, which is made of these comments.
-- A later migration that adds a table or a column says in its own file what it holds. No request waits for this.

comment on table requests is 'one row for each request: its state, and its response once there is one';
comment on column requests.request_id is 'its id, as the requester gave it';
comment on column requests.status is 'pending, processing, completed or failed';
comment on column requests.attempt is 'the attempt that it is at; 0 before the first';
comment on column requests.org_id is 'its organisation; null if it was refused and names none';
comment on column requests.user_id is 'the user that it names';
comment on column requests.fingerprint is 'tells a repeat of the request from another request with its id';
comment on column requests.body is 'the request as it was accepted; sealed where it has credentials';
comment on column requests.refusal is 'why it was refused when it came, in the place of a body';
comment on column requests.session_id is
  'the id of its session, reserved when it was accepted, the same in each attempt';
comment on column requests.response is 'the response that is published, byte for byte';
comment on column requests.error_code is 'why it failed, as the response says';
comment on column requests.reply_to is 'the queue that the requester wants its response in; null: the response queue';
comment on column requests.correlation_id is 'the correlation id of its message';
comment on column requests.traceparent is 'the trace that it belongs to';
comment on column requests.worker is 'the worker that claimed it last';
comment on column requests.lease is 'the batch that holds it';
comment on column requests.deadline_at is 'when it is of no use any more, as its requester says';
comment on column requests.received_at is 'when it came';
comment on column requests.started_at is 'when its last attempt began';
comment on column requests.finished_at is 'when it was completed, or failed';
comment on column requests.published_at is 'when the broker confirmed its response';
comment on column requests.answer_at is 'when its response is tried again; null: it does not wait';
comment on column requests.answer_way is 'the line in which its response waits: completed, failed, reply or direct';
comment on column requests.undelivered is
  'why its response is with nobody, as the broker said last: unroutable, refused or unpublishable';
comment on column requests.undelivered_at is 'when the broker said so';
comment on column requests.due_at is 'when its next attempt is due; of one that waits, its deadline';
comment on column requests.waits_in is 'the organisation in whose line it waits; empty: that of requests without one';
comment on column requests.waits_for is 'why it was put there: paused, over_share, rate, not_before or breaker';
comment on column requests.begins_at is 'the time before which it may not begin; it orders the line';
comment on column requests.runs_in is 'the organisation whose limit counts it, while it runs';

comment on table request_transitions is 'the history: each change of a request''s status. Triggers alone write it';
comment on column request_transitions.request_id is 'the request';
comment on column request_transitions.attempt is 'the attempt that it was at';
comment on column request_transitions.status is 'what it became';
comment on column request_transitions.worker is 'the worker that did it';
comment on column request_transitions.at is 'when';

comment on table attempts is 'why an attempt came to nothing. An attempt that succeeded has no row';
comment on column attempts.request_id is 'the request';
comment on column attempts.attempt is 'which attempt';
comment on column attempts.at is 'when it ended';
comment on column attempts.worker is 'the worker that made it';
comment on column attempts.kind is 'how it ended';
comment on column attempts.error_type is 'the type of the error that the handler raised';
comment on column attempts.reason is 'why, in a few words';
comment on column attempts.place is 'where in the handler: file:line function';

comment on table sessions is 'the sessions that were made';
comment on column sessions.id is 'its id';
comment on column sessions.request_id is 'the request that it was made for';
comment on column sessions.org_id is 'its organisation';
comment on column sessions.user_id is 'the user of the request';
comment on column sessions.name is 'its name';
comment on column sessions.status is 'active, or completed when its lifetime is over';
comment on column sessions.casefile_id is 'the casefile that the request names';
comment on column sessions.assistant_id is 'the assistant that the request names';
comment on column sessions.phone_number_id is 'the phone number that the request names';
comment on column sessions.expiration_seconds is 'for how long it lives';
comment on column sessions.created_at is 'when it was made';
comment on column sessions.updated_at is 'when its row last changed';
comment on column sessions.expires_at is 'when its lifetime is over';
comment on column sessions.document is 'what was asked for, with credentials sealed';

comment on table retries is 'which request was sent anew, as which other one, and by which selection';
comment on column retries.request_id is 'the one that had failed';
comment on column retries.retried_as is 'the one that was made of it';
comment on column retries.selection is 'the selection that did it';
comment on column retries.at is 'when';

comment on table long_calls is
  'calls of the handler that take longer than two seconds, and how far each is. Lost with a crash of Postgres';
comment on column long_calls.request_id is 'the request';
comment on column long_calls.attempt is 'the attempt that the call is of';
comment on column long_calls.worker is 'the worker that makes it';
comment on column long_calls.began_at is 'when the call began';
comment on column long_calls.fraction is 'how much is done, as the handler says: from 0 to 1';
comment on column long_calls.text is 'what it says that it does';
comment on column long_calls.told_at is 'when it said so last';

comment on view listed_requests is 'a request as `requests list` shows it';
comment on column listed_requests.request_id is 'its id';
comment on column listed_requests.org_id is 'its organisation';
comment on column listed_requests.user_id is 'the user that it names';
comment on column listed_requests.attempt is 'the attempt that it is at';
comment on column listed_requests.code is 'why it failed';
comment on column listed_requests.session_id is 'the id of its session';
comment on column listed_requests.correlation_id is 'the correlation id of its message';
comment on column listed_requests.reply_to is 'the queue that its requester wants its response in';
comment on column listed_requests.worker is 'the worker that claimed it last';
comment on column listed_requests.lease is 'the batch that holds it';
comment on column listed_requests.status is 'pending, processing, completed or failed';
comment on column listed_requests.received_at is 'when it came';
comment on column listed_requests.finished_at is 'when it was completed, or failed';
comment on column listed_requests.waits_in is 'the organisation in whose line it waits';
comment on column listed_requests.begins_at is 'the time before which it may not begin';
comment on column listed_requests.due_at is 'when its next attempt is due';
comment on column listed_requests.state is
  'where it stands, as people say it: its status once it is finished, else waiting, retrying or processing';
comment on column listed_requests.delivered is 'confirmed, none, or why its response is with nobody';
comment on column listed_requests.took is 'how long it took, from when it came';

comment on view retries_noted is 'retries, and whether each was sent';
comment on column retries_noted.request_id is 'the one that had failed';
comment on column retries_noted.retried_as is 'the one that was made of it';
comment on column retries_noted.selection is 'the selection that did it';
comment on column retries_noted.at is 'when';
comment on column retries_noted.sent is 'whether it was sent';

comment on view waiting_requests is 'what waits, why, until when, and who paused it';
comment on column waiting_requests.request_id is 'its id';
comment on column waiting_requests.org_id is 'its organisation';
comment on column waiting_requests.status is 'pending, or processing where it has had an attempt';
comment on column waiting_requests.begins_at is 'the time before which it may not begin';
comment on column waiting_requests.deadline_at is 'when it is of no use any more';
comment on column waiting_requests.received_at is 'when it came';
comment on column waiting_requests.reason is 'why it waits now';
comment on column waiting_requests.until is 'until when at least, where that is known';
comment on column waiting_requests.pause_reason is 'why it is paused';
comment on column waiting_requests.paused_by is 'who paused it';

comment on table pauses is 'what is paused, by whom, why and until when';
comment on column pauses.scope is 'all, org or worker';
comment on column pauses.name is 'the organisation, or the id of the worker';
comment on column pauses.reason is 'why';
comment on column pauses.paused_by is 'who did it';
comment on column pauses.paused_at is 'when';
comment on column pauses.ends_at is 'when the pause ends by itself';

comment on table limits is 'limits and weights, from a worker''s setting or from a command, which counts before it';
comment on column limits.scope is 'all together, each organisation that has none of its own, or one org';
comment on column limits.name is 'the organisation';
comment on column limits.source is 'a worker''s setting, or a command';
comment on column limits.running is 'how many of its requests may run at once';
comment on column limits.rate is 'how many may begin in a second';
comment on column limits.burst is 'how many may begin at once after a rest';
comment on column limits.weight is 'its share beside that of others, which is 1';
comment on column limits.reason is 'why';
comment on column limits.set_by is 'who set it';
comment on column limits.set_at is 'when';

comment on view limits_in_force is 'the limits that count';
comment on column limits_in_force.scope is 'all together, each organisation that has none of its own, or one org';
comment on column limits_in_force.name is 'the organisation';
comment on column limits_in_force.source is 'a worker''s setting, or a command';
comment on column limits_in_force.running is 'how many of its requests may run at once';
comment on column limits_in_force.rate is 'how many may begin in a second';
comment on column limits_in_force.burst is 'how many may begin at once after a rest';
comment on column limits_in_force.weight is 'its share beside that of others, which is 1';
comment on column limits_in_force.reason is 'why';
comment on column limits_in_force.set_by is 'who set it';
comment on column limits_in_force.set_at is 'when';

comment on table lines is 'one row for each organisation of which something waits';
comment on column lines.org_id is 'the organisation';
comment on column lines.pass is 'the share that it has had; the smallest is next';
comment on column lines.asleep_until is 'nothing of it may begin before this time';
comment on column lines.asleep_for is 'why not: not_before, rate, running or paused';
comment on column lines.full_at is 'where its rate is limited: when a whole burst may begin again';

comment on table rules is 'one row, for all pauses and limits together';
comment on column rules.only_one is 'true: there is no other row';
comment on column rules.version is 'grows with each change of pauses and limits';
comment on column rules.full_at is 'where the rate of all together is limited: when a whole burst may begin again';

comment on table workers is 'the workers that give a sign of life, and what each tells of itself';
comment on column workers.id is 'its id';
comment on column workers.number is 'the upper half of the ids of its leases';
comment on column workers.host is 'the machine, or container, that it runs on';
comment on column workers.pid is 'its process id there';
comment on column workers.version is 'its version of session-worker';
comment on column workers.started_at is 'when it started';
comment on column workers.heartbeat is 'its last sign of life';
comment on column workers.handler is 'module:function of its handler; empty: the built-in creation';
comment on column workers.handler_build is 'tells two builds of the handler apart';
comment on column workers.settings is 'the settings that all workers of a queue should have alike; no secret';
comment on column workers.answered is 'how many answers it has given since its start, by how long they took';
comment on column workers.load is 'how many calls of its handler run, and whether they block it';

comment on table ended_workers is 'the workers that are gone, the last 10,000 of them';
comment on column ended_workers.id is 'its id';
comment on column ended_workers.host is 'the machine, or container, that it ran on';
comment on column ended_workers.pid is 'its process id there';
comment on column ended_workers.version is 'its version of session-worker';
comment on column ended_workers.handler is 'module:function of its handler; empty: the built-in creation';
comment on column ended_workers.handler_build is 'tells two builds of the handler apart';
comment on column ended_workers.started_at is 'when it started';
comment on column ended_workers.ended_at is 'when it ended; of one that was killed, its last sign of life';

comment on view known_workers is 'the workers that live and those that are gone, together';
comment on column known_workers.id is 'its id';
comment on column known_workers.host is 'the machine, or container, that it runs on';
comment on column known_workers.pid is 'its process id there';
comment on column known_workers.handler is 'module:function of its handler';
comment on column known_workers.handler_build is 'tells two builds of the handler apart';

comment on table leases is 'what a worker holds on one batch, until when';
comment on column leases.id is 'the batch';
comment on column leases.worker is 'who holds it; null: nobody, it is free at lease_until';
comment on column leases.lease_until is 'until when; what is left then is taken over';
comment on column leases.spends_attempt is 'false: it was given back unharmed, by a worker that stopped';

comment on table other_answers is
  'answers for the response queue that wait, and are no request''s own response or a further copy of one';
comment on column other_answers.message_id is 'the id of the message';
comment on column other_answers.request_id is 'the request that it answers';
comment on column other_answers.status is 'completed or failed';
comment on column other_answers.code is 'why it failed';
comment on column other_answers.body is 'what is published';
comment on column other_answers.correlation_id is 'the correlation id of the request';
comment on column other_answers.traceparent is 'the trace that it belongs to';
comment on column other_answers.created_at is 'when it was made';
comment on column other_answers.answer_at is 'when it is tried again';

comment on table unsent_events is
  'where WORKER_EVENTS is on: events that the broker does not have yet, a row for each statement and an element for '
  'each event';
comment on column unsent_events.number is 'the number of the first event in it';
comment on column unsent_events.at is 'when';
comment on column unsent_events.numbers is 'the numbers of the events; those of one request grow with its steps';
comment on column unsent_events.request_ids is 'the requests that they are of';
comment on column unsent_events.kinds is 'what happened to each';
comment on column unsent_events.attempts is 'the attempt that each was at';
comment on column unsent_events.orgs is 'the organisation of each';
comment on column unsent_events.codes is 'why it failed';
comment on column unsent_events.reasons is 'why, in a few words';
comment on column unsent_events.untils is 'until when it waits, where that is known';

comment on table dead_letters is 'dead letters in custody';
comment on column dead_letters.id is 'made from all that the message has: one that comes twice is kept once';
comment on column dead_letters.body is 'what it says; sealed where there are keys';
comment on column dead_letters.sealed_by is 'the name of that key; null: the body is in clear';
comment on column dead_letters.size is 'the bytes of the body in clear';
comment on column dead_letters.properties is 'the properties of the message';
comment on column dead_letters.headers is 'its headers';
comment on column dead_letters.reason is 'why it is here';
comment on column dead_letters.kind is
  'the reason without its numbers, and the shape of the body: what groups are made by';
comment on column dead_letters.message_id is 'the id of the message';
comment on column dead_letters.app_id is 'the program that sent it, as it says';
comment on column dead_letters.user_id is 'the user of RabbitMQ that sent it, if the message says it';
comment on column dead_letters.exchange is 'the exchange that it was sent to';
comment on column dead_letters.routing_key is 'the routing key that it was sent with';
comment on column dead_letters.request_id is 'the request, if one was found in it';
comment on column dead_letters.died_at is 'when it was refused';
comment on column dead_letters.kept_at is 'when it was taken into custody';
comment on column dead_letters.state is 'kept, replayed or dropped';
comment on column dead_letters.ended_at is 'when it was replayed or dropped';
comment on column dead_letters.ended_by is 'who did it';
comment on column dead_letters.ended_reason is 'why';
comment on column dead_letters.sent_to is 'where it was sent';

comment on table audit is 'one row for each change by an operator. Nobody can change one';
comment on column audit.number is 'its number';
comment on column audit.at is 'when';
comment on column audit.who is 'who did it, as they call themselves';
comment on column audit.role is 'who did it, as Postgres knows them';
comment on column audit.action is 'what was done';
comment on column audit.reason is 'why';
comment on column audit.about is 'what it was done to, and how';
comment on column audit.touched is 'how many it touched';

comment on table selections is 'requests that an operator chose at one time, to do one thing to them';
comment on column selections.id is 'its id';
comment on column selections.action is 'retry, resend or cancel';
comment on column selections.chosen_by is 'the filter or the ids, as they were given';
comment on column selections.options is 'how it is done';
comment on column selections.who is 'who chose them';
comment on column selections.reason is 'why';
comment on column selections.rate is 'how many in a second';
comment on column selections.made_at is 'when they were chosen';
comment on column selections.state is 'prepared, running, stopped or done';
comment on column selections.runner is 'the process that works on it';
comment on column selections.runner_seen is 'its last sign of life';
comment on column selections.ended_at is 'when it was done, or stopped';
comment on column selections.chosen is 'how many were chosen';
comment on column selections.done is 'how many are done';
comment on column selections.skipped is 'how many needed nothing';
comment on column selections.failed is 'how many could not be done';

comment on table selection_items is 'the requests of each selection, and what became of each';
comment on column selection_items.selection is 'the selection';
comment on column selection_items.request_id is 'the request';
comment on column selection_items.state is 'waiting, done, skipped or failed';
comment on column selection_items.outcome is 'what became of it, in words';
comment on column selection_items.at is 'when';

comment on table works is 'long works, such as sealing anew, and how far each is';
comment on column works.id is 'its id';
comment on column works.kind is 'dead.replay, keys.count, keys.rotate or retention.run';
comment on column works.options is 'what it takes to go on; no secret';
comment on column works.chosen is 'the dead letters that it is about';
comment on column works.who is 'who began it';
comment on column works.reason is 'why';
comment on column works.begun_at is 'when';
comment on column works.state is 'running, stopped, failed or done';
comment on column works.runner is 'the process that does it';
comment on column works.runner_seen is 'its last sign of life';
comment on column works.ended_at is 'when it ended';
comment on column works.trouble is 'why it failed';
comment on column works.progress is 'how far it is';

comment on table answered_calls is
  'changes that programs asked for over HTTP, with the answers that they got, for a day';
comment on column answered_calls.who is 'who asked';
comment on column answered_calls.key is 'the key that they chose';
comment on column answered_calls.asked is 'the hash of what was asked for';
comment on column answered_calls.begun_at is 'when';
comment on column answered_calls.status is 'the status of the answer; null: there is none yet';
comment on column answered_calls.answer is 'the answer';

comment on table mutes is 'groups of failures that somebody has muted for a time';
comment on column mutes.id is 'made from the four that the failures of a group have in common';
comment on column mutes.code is 'why they failed';
comment on column mutes.reason is 'in words';
comment on column mutes.place is 'where in the handler: file:line function';
comment on column mutes.build is 'the build of the handler';
comment on column mutes.why is 'why they are muted';
comment on column mutes.muted_by is 'who did it';
comment on column mutes.muted_at is 'when';
comment on column mutes.ends_at is 'until when';

comment on table request_counts is
  'how many requests there are, by organisation, status and code, without what is not folded yet';
comment on column request_counts.org_id is 'the organisation; empty: none';
comment on column request_counts.status is 'their status';
comment on column request_counts.code is 'why they failed; empty: they did not';
comment on column request_counts.number is 'how many';

comment on table request_totals is 'the same, without the organisation';
comment on column request_totals.status is 'their status';
comment on column request_totals.code is 'why they failed; empty: they did not';
comment on column request_totals.number is 'how many';

comment on table count_changes is 'what batches have changed and what is not added to the counts yet';
comment on column count_changes.orgs is 'the organisation of each kind of change';
comment on column count_changes.statuses is 'its status';
comment on column count_changes.codes is 'its code';
comment on column count_changes.numbers is 'how many more, or fewer';

comment on view unfolded_changes is 'these changes, one by one';
comment on column unfolded_changes.org_id is 'the organisation; empty: none';
comment on column unfolded_changes.status is 'the status';
comment on column unfolded_changes.code is 'why they failed; empty: they did not';
comment on column unfolded_changes.number is 'how many more, or fewer';

comment on table measures is 'what the console draws of the last hours: a row every ten seconds';
comment on column measures.at is 'when';
comment on column measures.unfinished is 'requests on record that are not finished';
comment on column measures.completed is 'requests that are completed';
comment on column measures.failed is 'requests that have failed';
comment on column measures.answered is 'answers since the row before, by how long they took';
comment on column measures.queued is 'messages in the request queue; null: the broker does not tell';
comment on column measures.unread is 'messages in the response queue';
comment on column measures.dead is 'messages in the queue of dead letters';
comment on column measures.oldest is 'for how many seconds the oldest request has not been finished';
comment on column measures.due is 'put-off requests that are due';
comment on column measures.overdue is 'for how many seconds the oldest of them has been due';
comment on column measures.waiting is 'requests in line, by reason';
comment on column measures.unanswered is 'responses that wait for a queue';
comment on column measures.builds is 'the handlers and builds of the workers that live';

comment on table installation is 'one row: whose tables these are';
comment on column installation.only_one is 'true: there is no other row';
comment on column installation.prefix is 'the prefix of the queues';
comment on column installation.made_by is 'what made them: migrate, worker, up, demo or tests';
comment on column installation.kept_at_least is 'for how long finished requests are kept at least';
comment on column installation.made_at is 'when';

comment on table retired_keys is 'keys that seal no more';
comment on column retired_keys.key is 'its name';
comment on column retired_keys.retired_at is 'when';
comment on column retired_keys.who is 'who retired it';
comment on column retired_keys.reason is 'why';

comment on table schema_migrations is 'which migrations were applied, and when';
comment on column schema_migrations.number is 'its number';
comment on column schema_migrations.name is 'its name';
comment on column schema_migrations.checksum is 'the hash of its file';
comment on column schema_migrations.applied_at is 'when';
