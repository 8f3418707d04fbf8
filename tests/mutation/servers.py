"""Judges what survived by tests with real servers, which are started once for all of it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mutation.mutants import Mutant
from support.servers import servers

# Tests with the worker in their own process, and with servers that they leave whole: for the
# mutants of a file, in this order.
CHOSEN: Final = {
    "worker/steps/accepting.py": (
        "duplicates::the_same_id_with_other_content_is_a_conflict_and_changes_nothing",
        "duplicates::an_unfinished_request_is_answered_to_who_asked_last",
        "duplicates::a_conflict_with_an_unfinished_request_leaves_it_alone",
        "duplicates::copies_in_one_batch_are_read_once_and_each_is_answered",
        "whose::another_one_s_attempts_are_alike_and_change_and_reveal_nothing",
        "lines::what_is_paused_waits_and_begins_when_it_is_resumed",
    ),
    "worker/steps/answering.py": (
        "unreadable::an_unreadable_message_is_a_dead_letter_that_says_why",
        "unreadable::what_the_broker_does_not_take_is_buried_bare",
        "unreadable::a_dead_letter_that_finds_no_queue_is_held_until_there_is_one",
        "duplicates::a_conflict_that_finds_no_queue_waits_on_record_until_there_is_one",
        "unpublishable::an_address_that_the_broker_stumbles_over_hurts_its_own_request_alone",
        "end_to_end::one_that_goes_apart_is_counted_as_any_other",
        "routing::a_requester_whose_queue_is_full_holds_up_nobody_and_is_answered_when_there_is_room",
    ),
    "worker/steps/attempting.py": (
        "reading::a_stored_request_that_kills_its_reader_ends_answered",
        "reading::a_handler_gets_a_large_request_whole_at_each_attempt",
        "secrets::a_request_whose_key_is_missing_waits_for_it_and_spends_no_attempt",
        "secrets::a_request_whose_key_is_missing_is_told_when_it_is_too_late",
        "lines::the_next_one_under_a_limit_begins_as_soon_as_there_is_room",
        "lines::a_retry_of_a_paused_organisation_joins_its_line",
        "retries::each_attempt_s_reason_is_on_record_and_in_the_log",
        "end_to_end::a_response_that_only_recovery_could_publish_is_counted",
    ),
    "worker/steps/breaker.py": (
        "handler_outage::after_an_outage_all_calls_are_used_again",
        "handler_outage::an_outage_costs_each_request_one_attempt_at_most",
    ),
    "worker/steps/burying.py": (
        "unreadable::an_unreadable_message_is_a_dead_letter_that_says_why",
        "unreadable::a_dead_letter_that_finds_no_queue_is_held_until_there_is_one",
        "unreadable::a_dead_letter_that_finds_no_queue_is_none_twice_when_its_batch_fails",
        "cancel::one_that_nobody_can_be_told_of_is_a_dead_letter",
        "bad_input::bad_input_is_answered_with_its_reason_and_the_next_request_is_served",
    ),
    "worker/steps/cancelling.py": (
        "cancel::one_that_nobody_began_yet",
        "cancel::before_the_request_comes",
        "cancel::in_one_batch_with_its_request",
        "cancel::during_a_handler_s_call",
        "cancel::one_that_is_finished_stays_as_it_is",
        "cancel::the_answer_that_a_dead_worker_owes_is_given",
        "cancel::many_of_one_id_in_a_batch_are_all_answered_where_they_can_be",
        "whose::another_one_s_attempts_are_alike_and_change_and_reveal_nothing",
        "waiting::one_that_waits_is_not_given_up_over_a_copy_for_somebody_else",
    ),
    "worker/steps/creating.py": (
        "handler::no_more_calls_than_allowed_run_at_once_and_that_many_do",
        "handler::a_slow_call_holds_up_no_other",
        "deadline::a_deadline_during_the_handler_ends_its_call",
        "handler::retry_later_keeps_the_request_and_tries_again_when_it_is_due",
        "handler::a_time_out_of_the_handler_s_own_is_not_the_worker_s",
    ),
    "worker/steps/finishing.py": (
        "retries::each_attempt_s_reason_is_on_record_and_in_the_log",
        "cancel::during_a_handler_s_call",
        "cancel::while_it_waits_for_a_retry",
        "events::the_life_of_requests_is_told_step_by_step",
        "metrics::the_counts_are_right_after_some_of_each_kind",
        "handler::retry_later_keeps_the_request_and_tries_again_when_it_is_due",
    ),
    "worker/steps/gate.py": (
        "lines::what_is_paused_waits_and_begins_when_it_is_resumed",
        "lines::a_flood_is_shared_out_also_the_backlog_that_is_there",
        "lines::what_lies_behind_calls_that_hang_is_in_line_for_other_workers",
    ),
    "worker/steps/lanes.py": (
        "gathering::beside_others_a_batch_begins_with_many_or_when_they_are_done",
        "gathering::nobody_waits_long_for_others",
        "gathering::the_calls_of_a_handler_wait_for_no_others",
        "lines::who_comes_behind_a_flood_passes_it_by",
        "lines::what_lies_behind_calls_that_hang_is_in_line_for_other_workers",
        "lines::beyond_the_bound_requests_stay_in_the_queue_and_begin_later",
        "pausing::what_is_held_for_want_of_room_is_given_back_by_a_paused_worker",
        "handler::no_more_calls_than_allowed_run_at_once_and_that_many_do",
    ),
    "worker/steps/life.py": (
        "lifespan::it_is_open_around_all_calls_and_is_closed_after_the_last_by_the_task_that_opened_it",
        "lifespan::a_worker_whose_lifespan_fails_at_the_start_ends_with_a_sentence",
        "lifespan::a_worker_whose_lifespan_ends_by_itself_gives_back_what_it_has",
        "lifespan::one_that_does_not_open_can_be_stopped_and_one_that_does_not_close_is_cut",
    ),
    "worker/steps/pipeline.py": (
        "routing::one_id_many_times_in_a_batch_is_one_session_and_as_many_answers",
        "cancel::in_one_batch_with_its_request",
        "whose::another_one_s_attempts_are_alike_and_change_and_reveal_nothing",
        "bad_input::what_is_refused_for_a_property_is_answered_and_can_be_sent_again_with_the_same_id",
        "handler::no_more_calls_than_allowed_run_at_once_and_that_many_do",
        "lines::what_is_paused_waits_and_begins_when_it_is_resumed",
    ),
    "worker/steps/reading_apart.py": (
        "reading::a_handler_gets_a_large_request_whole_at_each_attempt",
        "cancel::one_that_is_read_elsewhere_waits_for_no_call_of_the_handler",
    ),
    "worker/steps/slots.py": (
        "handler::no_more_calls_than_allowed_run_at_once_and_that_many_do",
        "retries::calls_that_retries_have_no_use_for_are_the_others_at_once",
    ),
    "worker/steps/sorting.py": (
        "bad_input::what_is_refused_for_a_property_is_answered_and_can_be_sent_again_with_the_same_id",
        "end_to_end::where_it_begins",
        "end_to_end::its_count_is_that_of_the_answers",
    ),
    "worker/steps/verdicts.py": (
        "bad_input::what_is_refused_for_a_property_is_answered_and_can_be_sent_again_with_the_same_id",
        "handler::what_a_handler_returns_is_added_to_the_metadata",
        "whose::another_one_s_attempts_are_alike_and_change_and_reveal_nothing",
    ),
    "worker/rabbitmq/arriving.py": (
        "frames::deliveries_are_the_same_whichever_way_they_are_taken",
        "deliveries::a_body_that_is_too_large_is_dropped_as_it_comes",
    ),
    "worker/rabbitmq/channel_session.py": (
        "deliveries::no_more_bytes_are_held_than_the_bound_and_all_come_in_the_end",
        "deliveries::one_message_is_always_taken_whatever_its_size",
        "deliveries::what_is_settled_is_gone_and_what_is_not_comes_again",
        "deliveries::a_settlement_on_a_lost_channel_is_no_error",
    ),
    "worker/rabbitmq/confirms.py": (
        "write_batch::confirms_go_a_short_way_and_never_before_a_return",
        "write_batch::a_batch_is_confirmed_and_arrives_in_order",
        "write_batch::each_returned_message_is_told_from_the_others",
        "write_batch::batches_and_the_client_s_own_publishes_share_the_numbers",
        "publisher::more_than_a_window_is_published_in_order",
    ),
    "worker/rabbitmq/dispatcher.py": (
        "unpublishable::an_address_that_the_broker_stumbles_over_hurts_its_own_request_alone",
        "unpublishable::forged_addresses_make_nobody_wait",
    ),
    "worker/rabbitmq/fair_buffer.py": (
        "lines::who_comes_behind_a_flood_passes_it_by",
        "deliveries::deliveries_of_a_lost_channel_are_dropped_and_come_again",
    ),
    "worker/rabbitmq/in_hand.py": (
        "deliveries::deliveries_of_a_lost_channel_are_dropped_and_come_again",
        "deliveries::no_more_bytes_are_held_than_the_bound_and_all_come_in_the_end",
        "deliveries::large_messages_make_small_batches",
        "deliveries::a_body_that_is_too_large_is_dropped_as_it_comes",
        "lines::who_comes_behind_a_flood_passes_it_by",
        "gathering::beside_others_a_batch_begins_with_many_or_when_they_are_done",
        "metrics::what_is_in_flight_shows_while_it_is",
        "shards::workers_that_come_and_go_share_out_the_shards",
    ),
    "worker/rabbitmq/intake.py": (
        "deliveries::what_is_buffered_goes_back_at_once_when_it_stops",
        "deliveries::what_is_settled_is_gone_and_what_is_not_comes_again",
        "deliveries::no_more_is_held_than_the_prefetch",
        "deliveries::deliveries_of_a_lost_channel_are_dropped_and_come_again",
        "deliveries::no_more_bytes_are_held_than_the_bound_and_all_come_in_the_end",
        "frames::deliveries_are_the_same_whichever_way_they_are_taken",
        "pausing::what_a_paused_worker_has_not_begun_is_worked_on_by_another",
        "shards::a_change_of_their_number_loses_and_doubles_no_message",
        "bad_input::bad_input_is_answered_with_its_reason_and_the_next_request_is_served",
        "shards::workers_that_come_and_go_share_out_the_shards",
        "deadline::a_message_that_expired_while_no_worker_ran_is_answered_once_one_starts",
    ),
    "worker/rabbitmq/known_queues.py": (
        "unreadable::a_dead_letter_that_finds_no_queue_is_held_until_there_is_one",
        "duplicates::a_conflict_that_finds_no_queue_waits_on_record_until_there_is_one",
        "routing::a_requester_whose_queue_is_full_holds_up_nobody_and_is_answered_when_there_is_room",
    ),
    "worker/rabbitmq/one_by_one.py": (
        "unpublishable::an_address_that_the_broker_stumbles_over_hurts_its_own_request_alone",
        "unpublishable::apart_each_gets_its_own_receipt",
    ),
    "worker/rabbitmq/publisher.py": (
        "publisher::more_than_a_window_is_published_in_order",
        "publisher::two_copies_of_one_message_are_never_in_flight_at_once",
        "publisher::another_client_version_is_used_in_its_own_way_with_the_same_receipts",
        "publisher::a_broker_that_does_not_confirm_is_given_up_in_time",
        "unreadable::what_the_broker_does_not_take_is_buried_bare",
        "unpublishable::an_address_that_the_broker_stumbles_over_hurts_its_own_request_alone",
    ),
    "worker/rabbitmq/writing.py": (
        "write_batch::a_batch_is_confirmed_and_arrives_in_order",
        "write_batch::each_returned_message_is_told_from_the_others",
        "write_batch::a_write_that_is_cancelled_gives_its_numbers_back",
        "write_batch::batches_and_the_client_s_own_publishes_share_the_numbers",
        "write_batch::a_large_body_is_split_into_frames",
        "write_batch::a_connection_cut_after_the_write_rejects_the_batch",
    ),
    "worker/postgres/leases.py": (
        "confirmed_leases::a_batch_that_is_done_says_it_of_all_its_requests",
        "confirmed_leases::a_response_whose_batch_goes_on_for_long_is_noted_by_itself",
        "confirmed_leases::a_lease_that_was_taken_over_is_confirmed_by_nobody",
        "confirmed_leases::a_batch_that_fails_is_not_confirmed",
        "confirmed_leases::what_is_noted_of_a_batch_goes_with_its_last_request",
        "confirmed_leases::one_that_found_no_queue_does_not_follow_its_batch",
        "retries::leases_that_recovery_is_busy_with_do_not_stand_in_the_line",
        "ended_workers::what_it_had_is_found_by_its_place_and_build_and_it_lives_nowhere",
    ),
    "worker/postgres/put_off.py": (
        "retries::each_attempt_s_reason_is_on_record_and_in_the_log",
        "handler::retry_later_keeps_the_request_and_tries_again_when_it_is_due",
        "handler::attempts_are_counted_and_end",
        "retries::retries_that_wait_for_a_free_call_are_shown",
        "retries::what_is_due_is_worked_off_at_once_and_not_some_at_each_look",
    ),
    "worker/postgres/rows.py": (
        "duplicates::a_finished_request_is_answered_again_with_the_same_bytes",
        "routing::with_a_reply_queue_a_response_goes_there_and_nowhere_else",
        "end_to_end::a_response_that_only_recovery_could_publish_is_counted",
        "end_to_end::its_count_is_that_of_the_answers",
    ),
    "worker/postgres/store.py": (
        "confirmed_leases::two_workers_that_accept_the_same_requests_at_once_accept_each_once",
        "confirmed_leases::a_lease_that_was_taken_over_is_confirmed_by_nobody",
        "cancel::one_that_nobody_began_yet",
        "whose::another_one_s_attempts_are_alike_and_change_and_reveal_nothing",
        "handler::attempts_are_counted_and_end",
    ),
    "worker/postgres/waiting_answers.py": (
        "duplicates::a_conflict_that_finds_no_queue_waits_on_record_until_there_is_one",
        "routing::a_requester_whose_queue_is_full_holds_up_nobody_and_is_answered_when_there_is_room",
        "routing::a_requester_who_is_gone_holds_up_nobody",
        "waiting::answers_off_the_record_are_forgotten_however_many_there_are",
        "end_to_end::a_response_that_only_recovery_could_publish_is_counted",
        "end_to_end::one_that_goes_apart_is_counted_as_any_other",
    ),
    "worker/postgres/waiting_line.py": (
        "lines::what_is_paused_waits_and_begins_when_it_is_resumed",
        "lines::what_may_not_begin_before_a_time_begins_then",
        "lines::a_flood_is_shared_out_also_the_backlog_that_is_there",
        "lines::a_deadline_reaches_a_request_that_waits",
        "lines::the_next_one_under_a_limit_begins_as_soon_as_there_is_room",
    ),
}


@contextmanager
def started() -> Iterator[None]:
    """Start RabbitMQ and Postgres, for the tests of all processes that begin meanwhile."""
    with asyncio.Runner() as runner:
        running = servers()
        stack = runner.run(running.__aenter__())
        named = {
            "AMQP_URL": stack.amqp_url,
            "DATABASE_URL": stack.database_url,
            "TEST_SERVERS": "environment",
        }
        os.environ.update(named)
        try:
            yield
        finally:
            for name in named:
                del os.environ[name]
            runner.run(running.__aexit__(None, None, None))


def tests_of(mutant: Mutant) -> list[str]:
    """Return the tests with servers that were chosen for a mutant's file."""
    chosen = CHOSEN.get(mutant.name.partition(" ")[0], ())
    return [
        f"tests/integration/test_{file}.py::test_{test}"
        for file, _, test in (one.partition("::") for one in chosen)
    ]
