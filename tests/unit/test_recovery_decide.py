"""What recovery decides about a job: every row of its table, and what no job, time or setting may lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.jobs.clock import BELIEVED_AHEAD_MS
from jobclaim.jobs.model import DeadState
from jobclaim.recovery.decide import (
    LOOK_AHEAD_MS,
    Action,
    Dispatch,
    Expire,
    Figures,
    GiveUp,
    LostWorker,
    Orphan,
    Revive,
    decide,
    delay_seconds,
    worth_reading_after_ms,
)
from jobclaim.settings import QueueSpec, Settings

NOW = 1_750_000_000_000
SETTINGS = Settings()  # re-dispatch after 120 s, 240 s, ...; 12 dispatches
DEAD = LostWorker(worker_id="dead", seen_at=NOW - 90_000, lost_at=NOW - 30_000)
FIGURES = Figures(SETTINGS, {"dead": DEAD})


def running(**values: Any) -> Job:
    """A job that a living worker runs within its lease."""
    usual = {
        "attempt": 1,
        "charged": 1,
        "max_attempts": 3,
        "claimed_at": NOW - 100_000,
        "lease_expires_at": NOW + 1,
        "claim_token": "t",
        "worker_id": "alive",
        "dispatches": 1,
    }
    return Job(job_id="j", task="tasks.work", queue="default", status=JobStatus.PROCESSING, **{**usual, **values})


def waiting(**values: Any) -> Job:
    """A job that is due since now and whose message was sent just now."""
    usual = {"available_at": NOW, "dispatched_at": NOW, "dispatches": 1}
    return Job(job_id="j", task="tasks.work", queue="default", status=JobStatus.PENDING, **{**usual, **values})


def sent_ago(milliseconds: int, **values: Any) -> Job:
    """A job that is due, and whose message was sent, for so long."""
    return waiting(available_at=NOW - milliseconds, dispatched_at=NOW - milliseconds, **values)


def retried(**values: Any) -> Job:
    """A job that has failed and that its rule starts again."""
    return replace(running(), **{"status": JobStatus.FAILED, "dead_state": DeadState.SCHEDULED, **values})


def kind_of(action: Action) -> str:
    match action:
        case Revive():
            return "revive"
        case Orphan(retry=True):
            return "retry"
        case Orphan():
            return "fail"
        case Dispatch(again=True):
            return "again"
        case Dispatch():
            return "first"
        case GiveUp():
            return "give up"
        case Expire():
            return "expire"
    return "nothing"


TABLE: list[tuple[str, Job, str]] = [
    ("running within its lease", running(), "nothing"),
    ("lease over this very millisecond", running(lease_expires_at=NOW), "fail"),
    ("lease long over", running(lease_expires_at=NOW - 10**9), "fail"),
    ("lease over, retry wanted", running(lease_expires_at=NOW, on_orphan="retry"), "retry"),
    ("lease over, retry wanted, last attempt", running(lease_expires_at=NOW, on_orphan="retry", charged=3), "fail"),
    ("lease over, one attempt left", running(lease_expires_at=NOW, on_orphan="retry", charged=2), "retry"),
    ("worker dead, lease running", running(worker_id="dead"), "fail"),
    ("worker dead, retry wanted", running(worker_id="dead", on_orphan="retry"), "retry"),
    ("claimed after its worker was seen last", running(worker_id="dead", claimed_at=DEAD.seen_at + 9_000), "fail"),
    ("claimed after its worker counted as dead", running(worker_id="dead", claimed_at=DEAD.lost_at), "nothing"),
    ("no worker is known", running(worker_id=""), "nothing"),
    ("waiting since now", waiting(), "nothing"),
    ("a moment short of the first delay", waiting(available_at=NOW - 119_999, dispatched_at=0), "nothing"),
    ("the first delay is over", waiting(available_at=NOW - 120_000, dispatched_at=NOW - 120_000), "again"),
    ("due long ago, sent just now", waiting(available_at=NOW - 10**9), "nothing"),
    ("sent long ago, due just now", waiting(dispatched_at=NOW - 800_000), "nothing"),
    ("sent twice, waits twice as long", waiting(dispatches=2, available_at=0, dispatched_at=NOW - 239_999), "nothing"),
    ("sent twice, and that is over", waiting(dispatches=2, available_at=0, dispatched_at=NOW - 240_000), "again"),
    ("the eleventh message", waiting(dispatches=11, available_at=0, dispatched_at=NOW - 43_200_000), "again"),
    ("after twelve messages", waiting(dispatches=12, available_at=0, dispatched_at=NOW - 43_200_000), "give up"),
    ("the twelfth still has time", waiting(dispatches=12, available_at=0, dispatched_at=NOW - 43_199_999), "nothing"),
    ("far ahead", waiting(dispatches=0, available_at=NOW + LOOK_AHEAD_MS + 1), "nothing"),
    ("a look-ahead away", waiting(dispatches=0, available_at=NOW + LOOK_AHEAD_MS), "first"),
    ("due and never sent", waiting(dispatches=0, available_at=NOW - 1), "first"),
    ("due ahead, but sent", waiting(available_at=NOW + 1_000), "nothing"),
    ("in time to start, to the millisecond", waiting(start_by=NOW), "nothing"),
    ("half of its time to start is used", sent_ago(10_000, start_by=NOW + 10_000), "nothing"),
    ("more than half of its time to start is used", sent_ago(10_001, start_by=NOW + 10_000), "again"),
    ("sent twice, more than half used", sent_ago(10_001, start_by=NOW + 10_000, dispatches=2), "again"),
    ("sent three times, more than half used", sent_ago(10_001, start_by=NOW + 10_000, dispatches=3), "nothing"),
    ("two seconds are left to start", sent_ago(10_001, start_by=NOW + 2_000), "again"),
    ("less than two seconds are left to start", sent_ago(10_001, start_by=NOW + 1_999), "nothing"),
    ("written in a transaction just now", sent_ago(4_999, unsent=1), "nothing"),
    ("written in a transaction that was not sent", sent_ago(5_000, unsent=1), "again"),
    ("a failed job's retry is due", retried(retry_at=NOW), "revive"),
    ("a failed job's retry is due in a moment", retried(retry_at=NOW + 1), "nothing"),
    ("a failed job without a retry", retried(retry_at=0), "nothing"),
    ("a failed job that a person decides", retried(retry_at=1, dead_state=DeadState.WAITING), "nothing"),
    ("too late to start", waiting(start_by=NOW - 1), "expire"),
    ("too late to start, message long lost", waiting(start_by=1, available_at=0, dispatched_at=0), "expire"),
    ("too late to start, never sent", waiting(dispatches=0, start_by=NOW - 1), "expire"),
    ("running, its time to start over", running(start_by=NOW - 1), "nothing"),
    ("completed", replace(running(lease_expires_at=0), status=JobStatus.COMPLETED), "nothing"),
    ("failed", replace(running(lease_expires_at=0), status=JobStatus.FAILED), "nothing"),
    ("cancelled before its retry", replace(retried(retry_at=1), status=JobStatus.CANCELLED), "nothing"),
    ("cancelled", replace(waiting(dispatches=0), status=JobStatus.CANCELLED), "nothing"),
]


@pytest.mark.parametrize(("job", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table_of_decisions(job: Job, expected: str) -> None:
    assert kind_of(decide(job, NOW, FIGURES)) == expected


@pytest.mark.parametrize(
    ("job", "vouched", "expected"),
    [
        (running(lease_expires_at=NOW - 1), {"t"}, "nothing"),
        (running(lease_expires_at=NOW - 10**9), {"t"}, "nothing"),
        (running(lease_expires_at=NOW - 1), {"another"}, "fail"),
        (running(lease_expires_at=NOW - 1, on_orphan="retry"), set(), "retry"),
        (running(worker_id="dead", lease_expires_at=NOW - 1), {"t"}, "fail"),
        (replace(waiting(start_by=NOW - 1), claim_token="t"), {"t"}, "expire"),
    ],
    ids=["just over", "long over", "not this claim", "nobody vouches", "its worker is lost", "it does not run"],
)
def test_a_living_workers_word_counts_for_a_claim_that_it_names(job: Job, vouched: set[str], expected: str) -> None:
    assert kind_of(decide(job, NOW, replace(FIGURES, vouched=frozenset(vouched)))) == expected


def test_a_lease_that_is_over_is_explained() -> None:
    action = decide(running(lease_expires_at=NOW - 5_000, worker_id="w7"), NOW, FIGURES)
    assert isinstance(action, Orphan)
    assert action.failure.kind is FailureKind.ORPHANED
    assert action.failure.at == NOW
    for part in ("attempt 1", "'w7'", "2025-06-15T15:06:35", "on_orphan='retry'"):
        assert part in action.failure.message


def test_a_claim_outside_of_workers_names_none() -> None:
    action = decide(running(lease_expires_at=NOW - 5_000, worker_id=""), NOW, FIGURES)
    assert isinstance(action, Orphan)
    assert "its worker did not end it before its lease ended" in action.failure.message


def test_a_dead_worker_is_named_with_its_last_heartbeat() -> None:
    action = decide(running(worker_id="dead", on_orphan="retry"), NOW, FIGURES)
    assert isinstance(action, Orphan)
    for part in ("'dead'", "2025-06-15T15:05:10", "counts as lost", "is retried"):
        assert part in action.failure.message


def test_spent_attempts_are_named() -> None:
    action = decide(running(lease_expires_at=NOW, on_orphan="retry", charged=3), NOW, FIGURES)
    assert isinstance(action, Orphan)
    assert "all of its 3 attempts are used up" in action.failure.message


def test_giving_up_names_task_and_queue_and_what_to_check() -> None:
    action = decide(waiting(dispatches=12, available_at=0, dispatched_at=1), NOW, FIGURES)
    assert isinstance(action, GiveUp)
    assert (action.failure.kind, action.failure.at) == (FailureKind.CONFIGURATION, NOW)
    for part in ("12 messages", "'tasks.work'", "'default'", "worker listens", "register", "retry the job"):
        assert part in action.failure.message


def test_a_job_on_a_queue_that_settings_do_not_name_is_judged_by_the_default_queue() -> None:
    old = replace(waiting(available_at=NOW - 120_000, dispatched_at=0), queue="gone")
    assert decide(old, NOW, FIGURES) == Dispatch(again=True)


def test_a_queue_that_may_wait_longer_is_given_longer() -> None:
    patient = Figures(Settings(queues=(QueueSpec(name="default"), QueueSpec(name="slow", sla_seconds=600))))
    late = sent_ago(120_000)
    assert decide(late, NOW, patient) == Dispatch(again=True)
    assert decide(replace(late, queue="slow"), NOW, patient) is None


@pytest.mark.parametrize(
    ("ahead_ms", "seconds"),
    [(-5_000, 0), (0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (600_000, 600), (10**7, 900)],
)
def test_the_delay_is_rounded_up_and_within_what_sqs_takes(ahead_ms: int, seconds: int) -> None:
    assert delay_seconds(waiting(available_at=NOW + ahead_ms), NOW) == seconds


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(), 60),  # the grace: the shortest lease is a little longer
        (Settings(lease_grace_seconds=600), 120),  # the re-dispatch delay
        (Settings(queues=(QueueSpec(name="default", lease_seconds=3600),)), 120),
        (Settings(queues=(QueueSpec(name="default", soft_limit=5, hard_limit=10, lease_seconds=20),)), 20),
    ],
)
def test_jobs_are_read_once_they_are_old_enough_to_need_something(settings: Settings, seconds: int) -> None:
    assert worth_reading_after_ms(settings, "default") == seconds * 1000


# --- what holds for every job
times = st.integers(NOW - 10**9, NOW + 10**9)
jobs = st.builds(
    Job,
    job_id=st.just("j"),
    task=st.just("t"),
    queue=st.just("default"),
    status=st.sampled_from(JobStatus),
    attempt=st.integers(0, 5),
    charged=st.integers(0, 5),
    max_attempts=st.integers(1, 5),
    available_at=times,
    claimed_at=times,
    lease_expires_at=times,
    dispatched_at=times,
    dispatches=st.integers(0, 30),
    worker_id=st.sampled_from(["", "alive", "dead"]),
    on_orphan=st.sampled_from(["fail", "retry"]),
)


@given(job=jobs)
def test_only_running_jobs_become_orphans_and_only_waiting_ones_get_messages(job: Job) -> None:
    action = decide(job, NOW, FIGURES)
    if isinstance(action, Orphan):
        assert job.status is JobStatus.PROCESSING
    elif action is not None:
        assert job.status is JobStatus.PENDING


@given(job=jobs)
def test_a_job_within_its_lease_whose_worker_lives_is_left_alone(job: Job) -> None:
    alive = replace(job, status=JobStatus.PROCESSING, worker_id="alive", lease_expires_at=NOW + 1)
    assert decide(alive, NOW, FIGURES) is None


@given(job=jobs)
def test_no_orphan_is_tried_more_often_than_its_attempts_allow(job: Job) -> None:
    action = decide(job, NOW, FIGURES)
    if isinstance(action, Orphan) and action.retry:
        assert job.on_orphan == "retry"
        assert job.charged < job.max_attempts


@given(job=jobs)
def test_a_job_is_never_given_up_while_a_message_may_still_come(job: Job) -> None:
    if isinstance(decide(job, NOW, FIGURES), GiveUp):
        assert job.dispatches >= SETTINGS.max_dispatches
        assert NOW - max(job.available_at, job.dispatched_at) >= 43_200_000


@given(job=jobs, later=st.integers(0, 10**9))
def test_a_message_never_starts_a_job_early_and_at_most_a_second_late(job: Job, later: int) -> None:
    now = max(NOW, job.available_at - LOOK_AHEAD_MS) + later
    starts_at = now + delay_seconds(job, now) * 1000
    assert starts_at >= job.available_at
    assert starts_at < max(now, job.available_at) + 1_000


@given(job=jobs)
def test_every_waiting_job_gets_a_message_or_an_end_sooner_or_later(job: Job) -> None:
    pending = replace(job, status=JobStatus.PENDING)
    assert decide(pending, max(pending.available_at, pending.dispatched_at) + 43_200_000, FIGURES) is not None


@given(job=jobs)
def test_every_running_job_is_settled_once_its_lease_is_over(job: Job) -> None:
    lost = replace(job, status=JobStatus.PROCESSING)
    assert isinstance(decide(lost, lost.lease_expires_at, FIGURES), Orphan)


@given(job=jobs)
def test_whatever_is_done_about_a_young_job_is_done_where_a_pass_reads_it(job: Job) -> None:
    """The index entries that a pass skips may not hide a job that needs something, a dead worker's apart, and one whose
    message time only a wrong clock can have written: it is acted on as soon as it is read.
    """
    sane = replace(
        job,
        worker_id="alive",
        dispatches=max(1, job.dispatches),
        dispatched_at=min(job.dispatched_at, NOW + BELIEVED_AHEAD_MS),
        claimed_at=max(job.claimed_at, job.available_at),
        lease_expires_at=max(job.claimed_at, job.available_at) + (SETTINGS.lease_grace_seconds + 1) * 1000,
    )
    if NOW - sane.available_at < worth_reading_after_ms(SETTINGS, "default"):
        assert decide(sane, NOW, FIGURES) is None


# --- a clock that was ahead
def test_a_message_that_was_sent_by_a_clock_an_hour_ahead_is_not_waited_for_an_hour() -> None:
    ahead = waiting(available_at=NOW - 1, dispatched_at=NOW + 3_600_000)
    assert decide(ahead, NOW, FIGURES) == Dispatch(again=True)
    assert decide(replace(ahead, dispatches=2, dispatched_at=NOW), NOW, FIGURES) is None, "counted from now"


@pytest.mark.parametrize(
    "values",
    [
        {"dispatched_at": NOW + 60_000},
        {"dispatched_at": NOW + 3_600_000, "available_at": NOW + LOOK_AHEAD_MS + 1},
        {"dispatched_at": NOW + 3_600_000, "dispatches": SETTINGS.max_dispatches},
    ],
)
def test_within_the_grace_before_its_time_and_after_its_last_message_it_is_left_alone(values: dict[str, Any]) -> None:
    assert decide(waiting(**values), NOW, FIGURES) is None
