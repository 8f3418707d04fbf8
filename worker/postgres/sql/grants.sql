-- What each role may do in an installation's schema. In the place of a name in braces stands a name, quoted: {role} and
-- {schema}; and {all}, which is the section of that name. `migrate --grant` carries out `no_more` and the section of the
-- role, and `session-worker access postgres` prints them; after a migration, those that were given a section before are
-- given it again, so that they can use what is new.

-- name: all
schema_migrations, installation, requests, request_transitions, recorded_transitions, attempts, sessions,
  sessions_other, session_partitions, used_ids, leases,
  confirmed_leases, workers,
  other_answers, lines, limits, limits_in_force, pauses, rules, waiting_requests,
  count_changes, request_counts, request_totals, unfolded_changes, listed_requests,
  audit, selections, selection_items, retries, retries_noted,
  dead_letters, measures, works, ended_workers, known_workers, answered_calls, long_calls, mutes, retired_keys, unsent_events,
  shards, shard_readers

-- name: no_more
revoke create on schema {schema} from {role};
revoke all on {all} from {role};
revoke all on function
  claim_installation(text, text), fold_counts(integer), retire_audit(interval, integer),
  retire_requests(interval, integer), retire_requests(interval, integer, timestamptz),
  make_session_months(), keeps_sessions(text, timestamptz)
  from {role};

-- name: worker
-- It reads the history, which the triggers alone write; it deletes requests by retire_requests alone.
grant usage on schema {schema} to {role};
grant select on {all} to {role};
grant update on requests to {role};
grant insert (
  request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id, reply_to,
  correlation_id, traceparent, worker, lease, deadline_at, started_at, due_at, waits_in, waits_for, begins_at
) on requests to {role};
grant insert, update (status, updated_at) on sessions to {role};
grant insert, update, delete on leases, workers, ended_workers, long_calls, other_answers, lines to {role};
grant insert on attempts, confirmed_leases to {role};
grant insert, update, delete on limits, pauses to {role};
grant update (full_at) on rules to {role};
grant insert (who, action, reason, about, touched) on audit to {role};
grant insert, update, delete on selections, selection_items, works, answered_calls, mutes to {role};
grant insert on retries to {role};
grant insert, delete, update (state, ended_at, ended_by, ended_reason, sent_to) on dead_letters to {role};
grant insert, delete on measures to {role};
grant delete on unsent_events to {role};
grant insert on shards to {role};
grant insert, update, delete on shard_readers to {role};
grant execute on function claim_installation(text, text), fold_counts(integer) to {role};
grant execute on function
  retire_audit(interval, integer), retire_requests(interval, integer), retire_requests(interval, integer, timestamptz),
  make_session_months(), keeps_sessions(text, timestamptz)
  to {role};

-- name: console
-- What people do on its pages, and no work of a worker's: it makes no request, session or attempt.
grant usage on schema {schema} to {role};
grant select on {all} to {role};
grant update (published_at, due_at, answer_at, undelivered, undelivered_at) on requests to {role};
grant insert, update, delete on limits, pauses to {role};
grant insert (who, action, reason, about, touched) on audit to {role};
grant insert, update, delete on selections, selection_items, works, answered_calls, mutes to {role};
grant insert on retries to {role};
grant update (state, ended_at, ended_by, ended_reason, sent_to) on dead_letters to {role};
grant execute on function retire_requests(interval, integer, timestamptz) to {role};

-- name: migrator
-- By an administrator, before the tables are made: who makes them owns them. The first and the last line concern all roles.
revoke create on schema {schema} from public;
grant create, usage on schema {schema} to {role} with grant option; -- it lets workers in
do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$;

-- name: migrator_of_own_schema
-- The same for an installation in a schema of its own.
create schema if not exists {schema} authorization {role};
do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$;
