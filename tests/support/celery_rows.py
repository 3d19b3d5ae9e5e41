"""The tests of each row of ``docs/celery.md``: by section and the first name of its first cell."""

from __future__ import annotations

from typing import Final

FEATURES: Final = "tests/unit/test_celery_features.py::"
OPTIONS: Final = "tests/unit/test_calling_options.py::"
EAGER: Final = "tests/unit/test_eager_calls.py::"
SIGNALS: Final = "tests/integration/test_instrumentation.py::"
CONTROL: Final = "tests/unit/test_remote_control.py::"
INSTALL: Final = "tests/unit/test_installation.py::"
CANVAS: Final = "tests/unit/test_canvas.py::"
SHAPES: Final = "tests/unit/test_canvas_shapes.py::"
LAYER: Final = "tests/integration/test_task_layer.py::"
POOLS: Final = "tests/unit/test_pools.py::"
THREADS: Final = "tests/integration/test_thread_workers.py::"
WAYS_OUT: Final = "tests/integration/test_ways_to_leave.py::"
HOOKS: Final = "tests/integration/test_hooks_of_users.py::"
LASTING: Final = "tests/unit/test_lasting_tasks.py::"
LOGS: Final = "tests/integration/test_worker_logs.py::"
TABLE: Final = "tests/unit/test_celery_table.py::"

GIVEN: Final = f"{OPTIONS}test_an_option_that_is_honoured_makes_a_job"
REFUSED: Final = f"{OPTIONS}test_what_would_have_no_effect_is_refused_and_nothing_is_written"
FAULTY: Final = f"{OPTIONS}test_an_attribute_that_would_have_no_effect_stops_the_call_and_the_worker"
NO_COMMAND: Final = f"{CONTROL}test_a_command_that_sqs_cannot_carry_is_refused_with_what_to_do"
OVERRIDDEN: Final = f"{INSTALL}test_what_contradicts_the_claim_rule_is_overridden_with_key_both_values_and_why"
KEPT: Final = f"{INSTALL}test_what_does_not_touch_the_claim_rule_stays"
ONCE: Final = f"{SIGNALS}test_each_signal_is_sent_once_an_attempt"
BEFORE: Final = f"{SIGNALS}test_handlers_see_the_id_before_the_claim_and_the_arguments_after_it"
BY_PARENT: Final = f"{SIGNALS}test_the_end_that_no_child_can_tell_is_told_by_the_main_process"
HEADERS: Final = f"{SIGNALS}test_a_header_that_a_publish_handler_adds_reaches_the_body"
ACCEPTED: Final = f"{FEATURES}test_an_attribute_whose_wish_is_granted_anyway_is_accepted"
REQUEST: Final = f"{FEATURES}test_the_request_is_what_celery_gives_with_the_jobs_own_arguments"
RESULT: Final = f"{FEATURES}test_a_result_has_celerys_attributes_and_methods"
YARDSTICK: Final = f"{SHAPES}test_a_canvas_gives_what_celerys_own_gives"
RETRIES: Final = f"{LAYER}test_celerys_own_retry_options_mean_what_they_say"
NAMED: Final = f"{TABLE}test_the_page_names_everything_that_celery_has"
TYPED: Final = f"{TABLE}test_the_page_names_every_option_of_the_command"
RUNS_WITH: Final = (
    f"{SIGNALS}test_options_of_the_worker_count_or_are_accepted_where_they_concern_what_sqs_does_not_carry"
)
TAKEN_BACK: Final = f"{FEATURES}test_options_of_the_worker_without_effect_are_taken_back"
EVENTS: Final = f"{FEATURES}test_events_cannot_be_waited_for"
POOL_REFUSED: Final = f"{POOLS}test_every_other_pool_is_refused_with_the_remedy"

DEFAULTS: Final[dict[str, tuple[str, ...]]] = {
    "How a body may end": (
        f"{WAYS_OUT}test_each_way_out_of_a_body_ends_its_job",
        f"{WAYS_OUT}test_plain_celery_ends_a_task_in_the_same_state",
    ),
    "Classes of tasks": (f"{HOOKS}test_the_claim_holds_whatever_a_class_overrides",),
    "Options of a call": (GIVEN, REFUSED, f"{OPTIONS}test_the_page_names_every_option_and_refused_attribute"),
}
"""Sections whose rows are all looked at by one test, with a case for each."""

ROWS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "Ways to call": {
        "`delay`": (f"{FEATURES}test_each_way_to_call_makes_one_job",),
        "`s`": (f"{FEATURES}test_each_way_to_call_makes_one_job",),
        "`app.send_task`": (
            f"{FEATURES}test_send_task_is_a_plain_message_of_which_the_worker_makes_one_job",
            f"{FEATURES}test_celery_call_and_result_work_with_jobs",
        ),
        "`map`": (f"{FEATURES}test_map_starmap_and_chunks_call_the_body_in_a_plain_task",),
        "`task(...)`": (f"{FEATURES}test_a_direct_call_runs_the_body_here",),
        "`apply()`": (
            f"{EAGER}test_a_job_takes_and_gives_what_a_plain_task_does",
            f"{FEATURES}test_apply_gives_an_eager_result",
        ),
        "`delay_on_commit`": (
            "tests/unit/test_on_commit.py::test_a_job_is_written_when_the_transaction_is_committed",
            "tests/unit/test_on_commit.py::test_without_django_it_says_what_to_call_instead",
        ),
        "arguments that do not fit the body (`typing`)": (
            f"{FEATURES}test_arguments_that_do_not_fit_raise_at_the_call",
        ),
        "`submit_many`": (
            "tests/unit/test_bulk.py::test_every_call_gets_a_job_and_a_message",
            "tests/unit/test_async_submission.py::test_options_and_errors_pass_through",
        ),
    },
    "Attributes of a task": {
        "`name`": (
            RETRIES,
            "tests/unit/test_task_limits.py::test_limits_of_a_task_are_its_own_completed_by_those_of_its_queue",
        ),
        "`pydantic`": (f"{FEATURES}test_celerys_own_pydantic_option_converts_arguments_and_result",),
        "`throws`": (
            f"{FEATURES}test_an_exception_of_throws_fails_the_job",
            f"{SIGNALS}test_sentry_gets_no_event_of_a_retry_a_cancel_or_what_is_declared",
        ),
        "`autoretry_for`": (RETRIES,),
        "`max_retries`": (
            f"{OPTIONS}test_retry_kwargs_are_honoured",
            FAULTY,
        ),
        "`rate_limit`": (
            FAULTY,
            f"{LAYER}test_a_rate_is_kept_by_the_fleet_and_each_job_waits_for_its_turn_once",
        ),
        "`ignore_result`": (ACCEPTED,),
        "`acks_late`": ("tests/unit/test_plain_tasks.py::test_late_acks_are_refused_by_name",),
        "`reject_on_worker_lost`": (
            FAULTY,
            ACCEPTED,
        ),
        "`backend`": (FAULTY,),
        "`tags`": ("tests/unit/test_tags.py::test_every_way_to_submit_takes_tags",),
        "`serializer`": (FAULTY,),
        "`concurrency_key`": (FAULTY,),
        "a name that is nearly one of these": (
            FAULTY,
            f"{OPTIONS}test_attributes_of_ones_own_and_methods_are_left_alone",
        ),
        "`task_annotations` of the configuration": (KEPT,),
        "`abstract`": (
            f"{INSTALL}test_bootsteps_and_the_hosts_task_class_stay",
            "tests/unit/test_plain_tasks.py::test_each_task_gets_a_request_that_its_worker_owns",
        ),
    },
    "Methods of a task": {
        "`retry`": (
            f"{LAYER}test_a_retry_that_the_fence_refuses_sends_nothing",
            f"{LAYER}test_a_retry_may_change_its_arguments",
        ),
        "`replace`": (f"{CANVAS}test_a_task_that_replaces_itself_keeps_its_id",),
        "`add_to_chord`": (f"{FEATURES}test_a_member_is_not_added_to_a_running_chord",),
        "`update_state`": (
            f"{LASTING}test_celerys_own_update_state_is_progress_too",
            f"{FEATURES}test_events_go_nowhere_and_harm_nothing",
        ),
        "`AsyncResult`": (
            f"{FEATURES}test_a_direct_call_runs_the_body_here",
            NAMED,
        ),
        "`snooze`": (
            f"{LASTING}test_a_job_waits_without_a_worker_and_goes_on_with_what_it_is_given",
            f"{LAYER}test_a_snooze_is_not_charged",
        ),
    },
    "The request": {
        "`id`": (
            REQUEST,
            f"{FEATURES}test_the_request_of_a_member_and_of_a_step_name_their_group_and_parent",
        ),
        "`args`": (
            REQUEST,
            BEFORE,
        ),
        "`argsrepr`": (REQUEST,),
        "`retries`": (
            f"{LAYER}test_retries_follow_the_policy_and_the_last_failure_leaves_the_whole_history",
            f"{LAYER}test_a_snooze_is_not_charged",
        ),
        "`headers`": (
            HEADERS,
            "tests/unit/test_task_submission.py::test_every_message_of_a_job_carries_what_the_call_asked_for",
        ),
        "`timelimit`": (
            "tests/unit/test_task_submission.py::test_every_message_of_a_job_carries_what_the_call_asked_for",
        ),
        "`as_execution_options`": (NAMED,),
        "`expires`": (REQUEST,),
        "`job`": (
            REQUEST,
            f"{EAGER}test_a_body_without_a_job_is_told_so",
            "tests/unit/test_task_submission.py::test_equal_calls_are_one_job_and_one_message",
        ),
    },
    "Canvas": {
        "`chain`": (
            YARDSTICK,
            f"{SHAPES}test_canvases_give_what_celerys_own_give",
        ),
        "canvases that are frozen": (f"{SHAPES}test_a_canvas_that_was_frozen_or_came_as_json_gives_the_same",),
        "`link`": (
            f"{SHAPES}test_canvases_that_fail_somewhere_do_as_celerys_own",
            f"{CANVAS}test_error_callbacks_of_both_kinds_are_told",
        ),
        "partial arguments": (
            f"{FEATURES}test_each_way_to_call_makes_one_job",
            f"{OPTIONS}test_options_of_a_signature_and_of_a_batch_are_checked_too",
        ),
        "`stamp`": ("tests/integration/test_fair_queues.py::test_stamps_are_on_the_message",),
        "`chord` without a result backend of your own": (
            "tests/integration/test_canvas.py::test_nothing_is_stored_outside_the_job_table",
        ),
        "`chord_unlock`": (f"{CANVAS}test_a_chord_nobody_told_that_all_have_come_looks_by_itself",),
        "a step": (
            "tests/unit/test_followups.py::test_a_body_that_is_refused_fails_at_once",
            "tests/unit/test_followups.py::test_a_next_step_that_is_refused_fails_and_so_does_the_rest",
        ),
        "a member that is lost": (
            f"{CANVAS}test_an_orphaned_member_fails_its_chord",
            f"{CANVAS}test_a_member_that_came_too_late_to_start_fails_its_chord_at_once",
        ),
        "large groups": (
            "tests/unit/test_task_submission.py::test_links_too_large_for_an_item_are_refused_before_anything_is_written",
        ),
    },
    "Results": {
        "`id`": (RESULT,),
        "`name`": (RESULT,),
        "`get`": (RESULT,),
        "states PENDING": (
            f"{FEATURES}test_states_and_exceptions_of_results_that_did_not_come",
            "tests/unit/test_results.py::test_each_state_of_a_job_is_one_of_celerys",
        ),
        "`get` in a task": (f"{FEATURES}test_waiting_for_a_result_in_a_task_is_refused_as_by_celery",),
        "`forget`": (
            "tests/unit/test_results.py::test_a_forgotten_result_is_gone_at_once",
            "tests/unit/test_results.py::test_an_open_job_cannot_be_forgotten",
        ),
        "`then`": (f"{FEATURES}test_callbacks_of_a_result_are_called_while_get_waits",),
        "`revoke`": (f"{CONTROL}test_a_result_revokes_and_terminates",),
        "`GroupResult`: `get`": (
            f"{FEATURES}test_a_groups_result_has_celerys_methods",
            "tests/unit/test_revoke.py::test_a_group_is_revoked_whatever_state_its_members_are_in",
        ),
        "`EagerResult`": (f"{FEATURES}test_apply_gives_an_eager_result",),
        "`result_expires`": (
            "tests/unit/test_results.py::test_results_of_jobs_and_plain_tasks_last_as_long_as_completed_jobs_are_kept",
            KEPT,
        ),
    },
    "Values": {
        "types of arguments and results": (
            f"{EAGER}test_a_job_takes_and_gives_what_a_plain_task_does",
            f"{EAGER}test_what_json_does_not_carry_is_refused_before_the_body_runs",
        ),
        "`apply()`": (f"{EAGER}test_a_job_takes_and_gives_what_a_plain_task_does",),
        "`self.request.job`": (f"{EAGER}test_a_body_without_a_job_is_told_so",),
    },
    "Hooks and time limits": {
        "`before_start`": (f"{FEATURES}test_hooks_are_called_once_an_attempt_with_the_jobs_own_arguments",),
        "soft time limit: `SoftTimeLimitExceeded`": (
            ONCE,
            "tests/unit/test_soft_limit.py::test_a_limit_reached_while_the_result_is_written_does_not_fail_the_job",
        ),
        "hard time limit": (
            "tests/integration/test_both_paths.py::test_a_hard_limit_is_recorded_at_once",
            "tests/integration/test_both_paths.py::test_a_killed_childs_job_fails_within_two_seconds",
        ),
    },
    "Routing and queues": {
        "`task_routes`: names": (
            f"{INSTALL}test_the_hosts_routes_count_for_jobs",
            f"{INSTALL}test_a_route_may_be_a_function_of_the_arguments",
            f"{INSTALL}test_two_routes_of_one_task_are_a_reason_not_to_start",
            f"{INSTALL}test_a_route_to_a_queue_that_settings_do_not_know_is_a_reason_not_to_start",
        ),
        "`task_queues`": (f"{INSTALL}test_the_hosts_queues_modules_and_transport_options_stand_beside_ours",),
        "`task_default_queue`": (
            OVERRIDDEN,
            KEPT,
        ),
        "`task_create_missing_queues`": (OVERRIDDEN,),
        "exchanges": (
            REFUSED,
            FAULTY,
        ),
        "FIFO queues": (
            "tests/unit/test_settings.py::test_the_url_of_a_fifo_queue_is_refused",
            "tests/unit/test_settings.py::test_a_queue_refuses",
        ),
        "priorities within a queue": (
            REFUSED,
            FAULTY,
        ),
        "`MessageGroupId` (fair queues)": (
            "tests/integration/test_fair_queues.py::test_group_and_attributes_are_kept_over_retries_by_the_task_and_by_a_person",
        ),
        "messages of other serializers or senders": (
            "tests/unit/test_transport_inspect.py::test_a_reason_says_what_the_message_is_and_what_to_do",
        ),
    },
    "Times and schedules": {
        "`countdown`": (
            "tests/unit/test_task_submission.py::test_beyond_that_the_job_waits_in_dynamodb_and_no_message_is_sent",
            "tests/contract/test_far_future.py::test_a_job_far_ahead_is_sent_once_and_starts_when_it_is_due",
        ),
        "`beat_schedule`": (
            "tests/unit/test_beat.py::test_two_beats_make_one_job_of_a_tick",
            "tests/unit/test_beat.py::test_two_beats_mean_the_same_hour_of_a_crontab",
        ),
        "`add_periodic_task`": (
            f"{INSTALL}test_the_hosts_schedules_run_beside_those_of_settings_and_recovery",
            f"{FEATURES}test_periodic_tasks_of_the_hosts_own_are_scheduled",
        ),
        "`celery beat`": (
            "tests/integration/test_beat.py::test_two_beats_run_each_tick_once",
            TYPED,
        ),
        "`celery beat --enable-remote-control`": (TYPED,),
        "`django-celery-beat` and other schedulers": (
            "tests/unit/test_foreign_schedulers.py::test_one_of_others_is_refused_with_reason_and_remedy",
        ),
    },
    "Signals": {
        "`before_task_publish`": (
            BEFORE,
            HEADERS,
        ),
        "`task_received`": (ONCE,),
        "`task_prerun`": (BEFORE,),
        "`task_postrun`": (
            BEFORE,
            ONCE,
        ),
        "`task_success`": (ONCE,),
        "`task_internal_error`": (NAMED,),
        "`task_failure` of a lost child or a hard limit": (BY_PARENT,),
        "`task_revoked`": (BY_PARENT,),
        "`task_unknown`": (ONCE,),
        "`celeryd_init`": (
            f"{INSTALL}test_importing_every_public_name_leaves_celerys_state_alone",
            "tests/unit/test_two_apps.py::test_each_apps_jobs_and_messages_land_in_its_own_table_and_queue",
        ),
        "`setup_logging`": (
            f"{LOGS}test_a_setup_logging_handler_of_the_host_gets_everything_and_nothing_is_added",
            f"{LOGS}test_the_hosts_handlers_of_after_setup_signals_are_called",
        ),
        "`heartbeat_sent`": (OVERRIDDEN,),
        "`eventlet_pool_started`": (POOL_REFUSED,),
        "Sentry's integration of Celery": (
            f"{SIGNALS}test_sentry_gets_one_event_of_a_failure_with_its_exception",
            f"{SIGNALS}test_sentry_gets_one_event_of_a_failure_recorded_by_hand",
        ),
        "OpenTelemetry's instrumentation of Celery": (
            f"{SIGNALS}test_opentelemetry_has_each_attempt_under_the_span_that_sent_its_message",
        ),
    },
    "Configuration": {
        "`broker_url`": (
            OVERRIDDEN,
            f"{INSTALL}test_another_broker_in_celerys_own_environment_variable_is_refused",
        ),
        "`broker_transport_options`": (
            OVERRIDDEN,
            f"{INSTALL}test_the_hosts_queues_modules_and_transport_options_stand_beside_ours",
        ),
        "`task_acks_late`": (OVERRIDDEN,),
        "`worker_prefetch_multiplier`": (OVERRIDDEN,),
        "`worker_enable_remote_control`": (OVERRIDDEN,),
        "`task_serializer`": (
            OVERRIDDEN,
            KEPT,
        ),
        "`result_backend`": (
            f"{INSTALL}test_plain_tasks_keep_their_result_backend",
            f"{INSTALL}test_without_a_backend_of_the_host_plain_results_are_notes",
        ),
        "`task_time_limit`": (KEPT,),
        "`task_always_eager`": (
            KEPT,
            f"{EAGER}test_a_job_takes_and_gives_what_a_plain_task_does",
        ),
        "`CELERY_` prefixes": (f"{INSTALL}test_the_hosts_values_stay_and_the_claim_rule_holds_in_either_order",),
        "`beat_scheduler`": (f"{INSTALL}test_the_hosts_schedules_run_beside_those_of_settings_and_recovery",),
    },
    "Options of celery worker": {
        "`-A`": (RUNS_WITH, TYPED),
        "`-b`": (f"{INSTALL}test_another_broker_in_celerys_own_environment_variable_is_refused",),
        "`-Q`": (RUNS_WITH, TYPED),
        "`-l`": (f"{LOGS}test_log_level_and_log_file_are_those_that_were_typed",),
        "`--time-limit`": (
            "tests/unit/test_plain_tasks.py::test_a_plain_tasks_time_limit_above_its_queues_is_a_problem",
        ),
        "`-E`": (
            TAKEN_BACK,
            f"{SIGNALS}test_options_of_the_worker_that_have_no_effect_are_taken_back_with_one_warning",
        ),
        "`--disable-prefetch`": (RUNS_WITH, TYPED),
        "`--pool-start-method`": (TYPED,),
        "`--without-gossip`": (RUNS_WITH, TYPED),
        "`--purge`": (f"{FEATURES}test_a_purge_deletes_messages_and_leaves_jobs_to_recovery",),
        "`-B`": (
            "tests/integration/test_beat.py::test_two_beats_run_each_tick_once",
            TYPED,
        ),
        "`-P`": (POOL_REFUSED,),
        "SIGTERM": (
            "tests/integration/test_stopping_workers.py::test_a_stopped_worker_finishes_what_fits_and_gives_the_rest_back",
            "tests/integration/test_stopping_workers.py::test_even_a_cold_stop_gives_running_jobs_back",
        ),
    },
    "Pools and bodies": {
        "`-P prefork`": (f"{POOLS}test_processes_stay_as_they_are",),
        "`-P threads`": (
            f"{POOLS}test_threads_become_our_own",
            f"{THREADS}test_a_hundred_threads_hold_a_hundred_claims",
        ),
        "`-P solo`": (POOL_REFUSED, f"{POOLS}test_a_custom_pool_is_judged_by_its_class"),
        "`--autoscale`": (f"{POOLS}test_threads_do_not_scale_by_themselves",),
        "`worker_max_tasks_per_child`": (KEPT,),
        "`async def`": (
            f"{THREADS}test_every_outcome_of_a_coroutine_is_recorded",
            "tests/unit/test_async_bodies.py::test_an_eager_call_gives_what_the_coroutine_returns",
        ),
    },
    "Command line": {
        "`celery worker`": (
            NAMED,
            "tests/integration/test_worker_commands.py::test_a_worker_is_started_watched_restarted_and_stopped",
        ),
        "`celery call`": (f"{FEATURES}test_celery_call_and_result_work_with_jobs",),
        "`celery status`": (f"{CONTROL}test_ping_and_status_have_celerys_shape",),
        "`celery purge`": (f"{FEATURES}test_a_purge_deletes_messages_and_leaves_jobs_to_recovery",),
        "`celery list`": (f"{FEATURES}test_celery_list_shows_the_queues",),
        "`celery events`": (EVENTS,),
        "`celery migrate`": (NAMED,),
        "`celery jobs`": (
            "tests/integration/test_documented_commands.py::test_a_documented_line_does_what_its_readers_expect",
        ),
    },
    "Remote control": {
        "`ping`": (
            f"{CONTROL}test_ping_and_status_have_celerys_shape",
            f"{CONTROL}test_nobody_alive_is_no_answer_and_a_failed_status",
        ),
        "`active`": (f"{CONTROL}test_active_describes_the_running_jobs_as_celery_describes_tasks",),
        "`query_task`": (f"{CONTROL}test_query_task_finds_what_runs_and_sends_on_to_show_for_all_else",),
        "`registered`": (f"{CONTROL}test_registered_names_each_workers_tasks_with_the_attributes_that_are_asked_for",),
        "`active_queues`": (f"{CONTROL}test_stats_queues_report_and_revoked_tell_what_the_record_knows",),
        "`revoked`": (f"{CONTROL}test_stats_queues_report_and_revoked_tell_what_the_record_knows",),
        "`stats`": (f"{CONTROL}test_stats_queues_report_and_revoked_tell_what_the_record_knows",),
        "`revoke`": (
            f"{CONTROL}test_control_revoke_cancels_waiting_and_running_jobs",
            f"{CONTROL}test_a_result_revokes_and_terminates",
            "tests/unit/test_revoke.py::test_a_group_is_revoked_whatever_state_its_members_are_in",
        ),
        "`revoke_by_stamped_headers`": (NO_COMMAND,),
        "`shutdown`": (f"{CONTROL}test_shutdown_asks_the_workers_that_are_named",),
        "`destination`": (f"{CONTROL}test_a_destination_is_a_name_or_an_id",),
        "`rate_limit`": (NO_COMMAND,),
        "`pool_grow`": (NO_COMMAND,),
        "`add_consumer`": (NO_COMMAND,),
        "`scheduled`": (NO_COMMAND,),
        "`conf`": (NO_COMMAND,),
        "`enable_events`": (NO_COMMAND,),
        "commands of your own (`@control_command`)": (f"{CONTROL}test_a_command_of_the_hosts_own_is_refused_too",),
    },
    "Extensions": {
        "bootsteps": (f"{INSTALL}test_bootsteps_and_the_hosts_task_class_stay",),
        "several apps in one process": (
            f"{INSTALL}test_two_apps_keep_apart",
            f"{INSTALL}test_shared_tasks_belong_to_the_installed_app_in_every_thread",
        ),
        "`celery.contrib.abortable`": (f"{LASTING}test_celerys_abort_is_a_cancel",),
        "`celery.contrib.testing`": (
            "tests/unit/test_jobclaim_testing.py::test_a_message_delivered_twice_runs_the_body_once",
        ),
    },
}


def tests_for(section: str, row: str) -> tuple[str, ...]:
    """Name the tests of a row; none where nobody has said."""
    known = ROWS.get(section, {})
    return known.get(row) or DEFAULTS.get(section, ())
