"""From the arguments of a submission to the job that is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import InvalidInput, Job
from jobclaim.jobs.protocol.submission import Submission, id_for_key, lease_ms, new_job
from jobclaim.settings import QueueSpec, Settings, TaskSpec
from tests.support.clock import ManualClock

SETTINGS = Settings(
    queues=(
        QueueSpec(name="default"),
        QueueSpec(name="slow", hard_limit=7200),
        QueueSpec(name="ai", lease_seconds=1900),
    ),
    tasks={"tasks.scan": TaskSpec(queue="slow", soft_limit=50, hard_limit=60)},
    max_attempts=4,
    on_orphan="retry",
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30)


def job_of(clock: ManualClock, **asked: Any) -> Job:
    return new_job(Submission(**{"task": "tasks.work", **asked}), SETTINGS, clock, any_queue=False)


def test_a_submission_gets_its_defaults_from_settings(clock: ManualClock) -> None:
    job = job_of(clock)

    assert (job.queue, job.max_attempts, job.on_orphan) == ("default", 4, "retry")
    assert (job.idempotency_key, job.idempotency_ttl, job.fingerprint) == ("", 0, "")
    assert (job.created_at, job.available_at, job.dispatched_at, job.dispatches) == (clock(), clock(), clock(), 1)


def test_a_task_goes_where_settings_route_it_with_the_lease_of_its_own_limit(clock: ManualClock) -> None:
    job = job_of(clock, task="tasks.scan")

    assert (job.queue, job.lease_ms) == ("slow", (60 + 60) * 1000)


@pytest.mark.parametrize(
    ("queue", "hard_limit", "seconds"),
    [("default", None, 1860), ("slow", None, 7260), ("ai", None, 1900), ("ai", 60, 1900), ("ai", 3600, 3660)],
)
def test_a_claim_lasts_longer_than_the_job_may_run(queue: str, hard_limit: int | None, seconds: int) -> None:
    assert lease_ms(hard_limit, queue, "tasks.work", SETTINGS) == seconds * 1000


def test_jobs_without_a_key_get_ids_of_their_own_and_equal_keys_the_same(clock: ManualClock) -> None:
    assert job_of(clock).job_id != job_of(clock).job_id
    assert job_of(clock, idempotency_key="k").job_id == job_of(clock, idempotency_key="k").job_id
    assert job_of(clock, idempotency_key="k").submission != job_of(clock, idempotency_key="k").submission


@given(NAMES, NAMES, NAMES, NAMES)
def test_different_tasks_and_keys_never_share_an_id(task: str, key: str, other_task: str, other_key: str) -> None:
    same = (task, key) == (other_task, other_key)

    assert (id_for_key(task, key) == id_for_key(other_task, other_key)) is same


def test_a_name_cannot_smuggle_in_a_part_of_a_key(clock: ManualClock) -> None:
    with pytest.raises(InvalidInput, match="control character"):
        job_of(clock, task="a\0b", idempotency_key="c")
    with pytest.raises(InvalidInput, match="control character"):
        job_of(clock, task="a", idempotency_key="b\0c")


def test_a_time_in_the_past_means_now(clock: ManualClock) -> None:
    assert job_of(clock, available_at=clock() - 5000).available_at == clock()


def test_a_job_that_is_due_too_far_ahead_for_sqs_has_no_message_yet(clock: ManualClock) -> None:
    assert job_of(clock, available_at=clock() + 900_000).dispatches == 1
    assert job_of(clock, available_at=clock() + 900_001).dispatches == 0


def test_the_fingerprint_of_arguments_tells_apart_what_python_takes_for_equal(clock: ManualClock) -> None:
    fingerprints = {job_of(clock, idempotency_key="k", payload=value).fingerprint for value in (1, 1.0, True, "1")}

    assert len(fingerprints) == 4


@pytest.mark.parametrize("queue", ["defualt", "unknown"])
def test_a_queue_that_settings_do_not_know_is_refused_with_those_they_know(clock: ManualClock, queue: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not among the queues .*default"):
        job_of(clock, queue=queue)
