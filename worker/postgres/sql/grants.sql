-- What a worker's role may do in this schema: for `migrate --grant`, and then no more than this; after a migration
-- for each role that may update requests already, so that it can use what is new.
-- It reads the history, which the triggers alone write; it deletes requests by retire_requests alone.
do $$
declare
  worker text := current_setting('session_worker.role');
  no_more boolean := current_setting('session_worker.no_more');
  here text := current_schema();
  existing name;
begin
  execute format('grant usage on schema %I to %I', here, worker);
  foreach existing in array array[
    'schema_migrations', 'installation', 'requests', 'request_transitions', 'attempts', 'sessions', 'leases', 'workers',
    'other_answers', 'lines', 'limits', 'limits_in_force', 'pauses', 'rules', 'waiting_requests',
    'count_changes', 'request_counts', 'request_totals', 'unfolded_changes', 'listed_requests',
    'audit', 'selections', 'selection_items', 'retries', 'retries_noted',
    'dead_letters', 'measures', 'works', 'ended_workers', 'known_workers', 'answered_calls', 'retired_keys'
  ] loop
    if no_more then
      execute format('revoke all on %I.%I from %I', here, existing, worker);
    end if;
    execute format('grant select on %I.%I to %I', here, existing, worker);
  end loop;
  execute format(
    'grant insert, update, delete on %I.leases, %I.workers, %I.ended_workers, %I.other_answers to %I',
    here, here, here, here, worker
  );
  execute format('grant insert, update, delete on %I.lines, %I.limits, %I.pauses to %I', here, here, here, worker);
  execute format('grant insert (who, action, reason, about, touched) on %I.audit to %I', here, worker);
  execute format('grant insert, update, delete on %I.selections, %I.selection_items to %I', here, here, worker);
  execute format('grant insert on %I.retries to %I', here, worker);
  execute format('grant insert, update, delete on %I.works to %I', here, worker);
  execute format('grant insert, update, delete on %I.answered_calls to %I', here, worker);
  execute format('grant execute on function %I.retire_audit(interval, integer) to %I', here, worker);
  execute format('grant insert, delete on %I.dead_letters to %I', here, worker);
  execute format(
    'grant update (state, ended_at, ended_by, ended_reason, sent_to) on %I.dead_letters to %I', here, worker
  );
  execute format('grant insert, delete on %I.measures to %I', here, worker);
  execute format('grant update (full_at) on %I.rules to %I', here, worker);
  execute format('grant insert on %I.attempts to %I', here, worker);
  execute format('grant insert, update (status, updated_at) on %I.sessions to %I', here, worker);
  execute format('grant update on %I.requests to %I', here, worker);
  execute format(
    'grant insert (request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id, reply_to, '
    'correlation_id, traceparent, worker, lease, deadline_at, started_at, due_at, waits_in, waits_for, begins_at) on %I.requests to %I', here, worker
  );
  execute format('grant execute on function %I.claim_installation to %I', here, worker);
  execute format('grant execute on function %I.fold_counts(integer) to %I', here, worker);
  execute format('grant execute on function %I.retire_requests(interval, integer) to %I', here, worker);
  execute format('grant execute on function %I.retire_requests(interval, integer, timestamptz) to %I', here, worker);
end $$
