"""The whole life of a job, move by move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jobclaim.jobs import (
    ClaimLost,
    FailureKind,
    IllegalTransition,
    InvalidInput,
    Job,
    JobNotFound,
    JobRepo,
    JobStatus,
    NotClaimed,
)
from jobclaim.jobs.kept import Release
from jobclaim.jobs.protocol import releases
from jobclaim.jobs.repo import rescue
from tests.contract.stores import Store

pytestmark = pytest.mark.embedded

LEASE_MS = (1800 + 60) * 1000
SLOW = {"name": "slow", "hard_limit": 7200}


def test_a_job_is_submitted_claimed_and_completed(store: Store) -> None:
    now = store.clock()
    job = store.repo().create_job("tasks.work", {"rows": [1, 2.5, None, "é"]}, queue="ai")
    assert (job.created, job.status, job.attempt, job.queue) == (True, JobStatus.PENDING, 0, "ai")
    assert (job.created_at, job.available_at, job.lease_ms) == (now, now, LEASE_MS)

    worker = store.repo()
    store.clock.advance(3)
    claim = worker.claim_job(job.job_id, worker_id="w1", celery_task_id="c1", attempt=0)
    assert claim is not None
    assert (claim.status, claim.attempt, claim.charged, claim.payload) == (JobStatus.PROCESSING, 1, 1, job.payload)
    assert (claim.worker_id, claim.celery_task_id) == ("w1", "c1")
    assert (claim.claimed_at, claim.lease_expires_at) == (now + 3000, now + 3000 + LEASE_MS)

    store.clock.advance(5)
    done = worker.update_status(job.job_id, "COMPLETED", result={"sum": 3.5})
    assert (done.status, done.result, done.finished_at) == (JobStatus.COMPLETED, {"sum": 3.5}, now + 8000)
    assert store.repo().get_job(job.job_id) == done


def test_what_a_move_returns_is_what_is_stored(store: Store) -> None:
    owner = store.repo()

    def same(job: Job | None) -> Job:
        assert job is not None
        assert job == store.repo().get_job(job.job_id)
        return job

    job = same(owner.create_job("tasks.work", {"n": 1}, idempotency_key="k"))
    same(owner.claim_job(job.job_id))
    same(owner.reschedule(job.job_id, error=OSError("busy"), kind=FailureKind.TRANSIENT))
    same(owner.claim_job(job.job_id, attempt=1))
    same(owner.release(job.job_id, reason="shutdown"))
    same(owner.claim_job(job.job_id, attempt=2))
    same(owner.update_status(job.job_id, "FAILED", error=ValueError("no")))
    same(owner.retry_job(job.job_id))
    same(owner.cancel_job(job.job_id))
    same(owner.create_job("tasks.work", {"n": 1}, idempotency_key="k"))
    same(owner.claim_job(job.job_id))
    same(owner.update_status(job.job_id, "CANCELLED", error="revoked"))
    same(owner.create_job("tasks.work", {"n": True}, idempotency_key="k"))
    same(owner.claim_job(job.job_id))
    last = same(owner.update_status(job.job_id, "COMPLETED", result=[1, 2]))
    assert [(entry.attempt, entry.outcome) for entry in last.history] == [
        (1, "retry"),
        (2, "release"),
        (3, "fail"),
        (5, "stop"),
    ]


def test_the_plain_way_claims_a_job_and_says_whether_it_worked(store: Store) -> None:
    job = store.pending()
    repo = store.repo()

    won, mine = repo.conditional_update_status_to_processing(
        job_id=job.job_id, celery_task_id="c1", expected_status="PENDING"
    )
    again, theirs = store.repo().conditional_update_status_to_processing(job_id=job.job_id, celery_task_id="c1")

    assert (won, mine.status, mine.payload) == (True, JobStatus.PROCESSING, {"n": 1})
    assert (again, theirs) == (False, mine)
    assert repo.update_status(job.job_id, "COMPLETED").status is JobStatus.COMPLETED


def test_a_second_claim_is_refused_and_changes_nothing(store: Store) -> None:
    _, claim = store.claimed()
    before = store.items()

    assert store.repo().claim_job(claim.job_id, celery_task_id="c1") is None
    assert store.repo().claim_job(claim.job_id, attempt=0) is None
    assert store.repo().claim_job(claim.job_id, attempt=1) is None
    assert store.items() == before


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "CANCELLED"])
def test_a_job_that_is_over_cannot_be_claimed(store: Store, end: str) -> None:
    owner, job = store.claimed()
    owner.update_status(job.job_id, end)
    before = store.items()

    assert store.repo().claim_job(job.job_id) is None
    assert store.items() == before


@pytest.mark.parametrize("attempt", [0, 2, 7])
def test_a_message_of_another_attempt_is_refused(store: Store, attempt: int) -> None:
    owner, job = store.claimed()
    owner.reschedule(job.job_id)  # the next message names attempt 1
    before = store.items()

    assert store.repo().claim_job(job.job_id, attempt=attempt) is None
    assert store.items() == before
    assert store.repo().claim_job(job.job_id, attempt=1) is not None


def test_a_claim_that_arrives_again_when_its_attempt_is_over_takes_nothing(store: Store) -> None:
    """The first try of a request that was given up and made again may reach DynamoDB later, and names no attempt."""
    job, worker = store.pending(), store.repo()
    assert worker.claim_job(job.job_id, token="the-first") is not None
    worker.release(job.job_id)

    assert store.repo().claim_job(job.job_id, token="the-first") is None
    assert store.repo().claim_job(job.job_id) is not None


def test_the_message_of_a_cancelled_run_cannot_start_the_next_run_early(store: Store) -> None:
    job = store.pending(idempotency_key="k")  # its message, for attempt 0, is under way
    store.repo().cancel_job(job.job_id)
    later = store.pending(idempotency_key="k", available_at=store.clock() + 3_600_000)

    assert later.created
    assert store.repo().claim_job(job.job_id, attempt=0) is None
    assert store.repo().claim_job(job.job_id, attempt=later.attempt) is not None


@pytest.mark.parametrize("write", ["COMPLETED", "FAILED", "CANCELLED", "reschedule", "release"])
def test_a_job_cannot_be_ended_without_a_claim(store: Store, write: str) -> None:
    store.claimed(job_id="j")
    before = store.items()

    with pytest.raises(NotClaimed, match="holds no claim on it; call claim_job"):
        end(store, write, {"job_id": "j"})

    assert store.items() == before


@pytest.mark.parametrize("write", ["COMPLETED", "FAILED", "CANCELLED", "reschedule", "release"])
def test_a_token_that_is_not_the_claims_opens_nothing(store: Store, write: str) -> None:
    store.claimed(job_id="j")
    before = store.items()

    with pytest.raises(ClaimLost, match="it is PROCESSING in attempt 1"):
        end(store, write, {"job_id": "j", "token": "guessed"})

    assert store.items() == before


@pytest.mark.parametrize("write", ["COMPLETED", "FAILED", "CANCELLED", "reschedule", "release"])
def test_whoever_has_the_token_may_end_the_attempt_from_another_process(store: Store, write: str) -> None:
    _, claim = store.claimed(job_id="j")

    assert end(store, write, {"job_id": "j", "token": claim.claim_token}).status is not JobStatus.PROCESSING


def end(store: Store, write: str, arguments: dict[str, Any]) -> Job:
    repo = store.repo()
    if write in ("reschedule", "release"):
        ended: Job = getattr(repo, write)(**arguments)
        return ended
    return repo.update_status(status=write, **arguments)


def test_an_attempt_is_ended_only_once(store: Store) -> None:
    owner, job = store.claimed()
    owner.update_status(job.job_id, "COMPLETED", result=1)
    before = store.items()

    with pytest.raises(ClaimLost):
        owner.update_status(job.job_id, "FAILED", error="too late")
    with pytest.raises(ClaimLost):
        owner.update_status(job.job_id, "COMPLETED", result=2, token=job.claim_token)
    assert store.items() == before


@pytest.mark.parametrize("status", ["PENDING", "PROCESSING"])
def test_a_job_cannot_be_put_back_or_started_by_naming_a_state(store: Store, status: str) -> None:
    owner, job = store.claimed()
    before = store.items()

    with pytest.raises(IllegalTransition, match="use claim_job, reschedule or release"):
        owner.update_status(job.job_id, status)
    assert store.items() == before


def test_only_a_pending_job_can_be_the_expected_one(store: Store) -> None:
    job = store.failed()

    with pytest.raises(IllegalTransition, match="only a PENDING job can be claimed"):
        store.repo().conditional_update_status_to_processing(job.job_id, expected_status="FAILED")


def test_a_failed_job_can_be_retried_and_completes_with_all_its_attempts_before_it(store: Store) -> None:
    failed = store.failed(max_attempts=2)
    assert failed.failure is not None
    assert failed.failure.exception == "ValueError"

    retried = store.repo().retry_job(failed.job_id)
    assert (retried.status, retried.attempts_left, retried.attempt) == (JobStatus.PENDING, 2, 1)

    worker = store.repo()
    assert worker.claim_job(failed.job_id, attempt=0) is None
    assert worker.claim_job(failed.job_id, attempt=1) is not None
    done = worker.update_status(failed.job_id, "COMPLETED")
    assert (done.attempt, [entry.outcome for entry in done.history]) == (2, ["fail"])


def test_only_a_failed_job_can_be_retried(store: Store) -> None:
    for job in (store.pending(), store.claimed()[1], store.completed()):
        before = store.item(job.job_id)
        with pytest.raises(IllegalTransition, match=f"is {job.status}; only a FAILED job"):
            store.repo().retry_job(job.job_id)
        assert store.item(job.job_id) == before


def test_a_pending_job_can_be_cancelled_and_then_never_starts(store: Store) -> None:
    job = store.pending()

    cancelled = store.repo().cancel_job(job.job_id, reason="not wanted")

    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.failure is not None
    assert (cancelled.failure.kind, cancelled.failure.message) == (FailureKind.CANCELLED, "not wanted")
    assert store.repo().claim_job(job.job_id) is None
    assert store.repo().cancel_job(job.job_id, reason="again") == cancelled


def test_a_running_or_ended_job_cannot_be_cancelled(store: Store) -> None:
    for job in (store.claimed()[1], store.completed(), store.failed()):
        before = store.item(job.job_id)
        with pytest.raises(IllegalTransition, match=f"is {job.status}; only a PENDING job"):
            store.repo().cancel_job(job.job_id)
        assert store.item(job.job_id) == before


def test_a_retry_waits_for_its_time_and_stays_charged(store: Store) -> None:
    owner, job = store.claimed(max_attempts=3)
    at = datetime.fromtimestamp((store.clock() + 60_000) / 1000, UTC)

    retry = owner.reschedule(job.job_id, available_at=at, error=ConnectionError("x"), kind=FailureKind.TRANSIENT)

    assert (retry.status, retry.available_at, retry.attempts_left) == (JobStatus.PENDING, store.clock() + 60_000, 2)
    assert retry.failure is not None
    assert retry.failure.kind is FailureKind.TRANSIENT
    assert [listed.job_id for listed in store.repo().list_jobs("PENDING").jobs] == [job.job_id]


def test_a_retry_may_carry_other_arguments_in_another_queue_with_its_longer_lease(store: Store) -> None:
    _, job = store.claimed()
    slow = store.settings.model_copy(
        update={"queues": (*store.settings.queues, store.settings.queue("ai").model_copy(update=SLOW))}
    )
    repo = store.repo(settings=slow)

    retry = repo.reschedule(job.job_id, payload=[2], queue="slow", token=job.claim_token)

    assert (retry.payload, retry.queue, retry.lease_ms) == ([2], "slow", (7200 + 60) * 1000)
    assert [listed.job_id for listed in repo.list_jobs("PENDING", queue="slow").jobs] == [job.job_id]
    assert repo.list_jobs("PENDING", queue="default").jobs == ()


def test_a_release_is_not_charged(store: Store) -> None:
    owner, job = store.claimed(max_attempts=1)

    released = owner.release(job.job_id, reason="shutdown")

    assert (released.attempts_left, released.attempt) == (1, 1)
    assert [(entry.outcome, entry.failure, entry.reason) for entry in released.history] == [
        ("release", None, "shutdown")
    ]


def test_a_release_is_stored_apart_from_failures_and_ends_with_the_next_attempt(store: Store) -> None:
    owner, job = store.claimed(max_attempts=3)
    owner.reschedule(job.job_id, error=ConnectionError("down"))
    assert owner.claim_job(job.job_id) is not None

    held = owner.release(job.job_id, reason="the rate limit of 1/m is used up", held="rate-limit", started=False)

    read = store.repo().get_job(job.job_id)
    assert read == held
    assert read.released is not None
    assert read.released.attempt == read.attempt, "a hold of an attempt before this one holds no longer"
    assert releases.current(read) == Release(
        held="rate-limit", reason="the rate limit of 1/m is used up", at=store.clock(), attempt=2
    )
    assert (read.charged, read.failure and read.failure.message) == (1, "down"), "the last real failure is kept"
    assert owner.claim_job(job.job_id) is not None
    assert releases.current(store.repo().get_job(job.job_id)) is None
    done = owner.update_status(job.job_id, "COMPLETED")
    assert (done.released, [(past.outcome, past.held) for past in done.history]) == (
        None,
        [("retry", ""), ("release", "rate-limit")],
    )


def test_a_claim_by_a_release_that_does_not_know_holds_ends_them_too(store: Store) -> None:
    owner, job = store.claimed()
    held = owner.release(job.job_id, reason="a limit", held="rate-limit")
    retried = replace(held, attempt=held.attempt + 1, charged=1)  # what it wrote: it left the attribute alone
    assert releases.current(retried) is None


def test_what_holds_a_job_must_be_known(store: Store) -> None:
    owner, job = store.claimed()
    with pytest.raises(InvalidInput, match="held='lunch' is not known; use one of"):
        owner.release(job.job_id, held="lunch")
    assert store.repo().get_job(job.job_id) == job


def test_a_job_due_far_ahead_has_no_message_yet_and_recovery_can_still_count_one(store: Store) -> None:
    job = store.pending(available_at=store.clock() + 86_400_000)
    assert job.dispatches == 0

    sent = rescue.dispatch(store.repo(), job)

    assert sent is not None
    assert sent.dispatches == store.repo().get_job(job.job_id).dispatches == 1
    assert rescue.dispatch(store.repo(), job) is None, "two passes that read the same send one message"


def test_a_lease_is_longer_than_the_job_may_run_even_where_the_queue_has_a_fixed_one(store: Store) -> None:
    short = store.settings.queue("ai").model_copy(
        update={"name": "short", "soft_limit": 1, "hard_limit": 2, "lease_seconds": 3}
    )
    settings = store.settings.model_copy(update={"queues": (*store.settings.queues, short)})
    repo = store.repo(settings=settings)

    assert repo.create_job("t", queue="short").lease_ms == 3000
    assert repo.create_job("t", queue="short", hard_limit=600).lease_ms == 660_000


def test_an_unknown_job_is_named_in_the_error(store: Store) -> None:
    repo = store.repo()
    for ask in (
        lambda: repo.get_job("nobody"),
        lambda: repo.claim_job("nobody"),
        lambda: repo.conditional_update_status_to_processing("nobody"),
        lambda: repo.retry_job("nobody"),
        lambda: repo.cancel_job("nobody"),
        lambda: repo.update_status("nobody", "COMPLETED", token="t"),
    ):
        with pytest.raises(JobNotFound, match="no job has the id 'nobody'"):
            ask()
    assert store.items() == {}


def test_a_job_whose_retention_is_over_is_gone_before_it_is_deleted(store: Store) -> None:
    job = store.failed()
    store.clock.advance(30 * 86_400 - 1)
    assert store.repo().get_job(job.job_id) == job

    store.clock.advance(2)

    assert store.item(job.job_id) is not None
    for ask in (store.repo().get_job, store.repo().retry_job, store.repo().cancel_job):
        with pytest.raises(JobNotFound):
            ask(job.job_id)
    assert store.repo().list_jobs("FAILED").jobs == ()


def test_a_job_that_nobody_started_in_time_never_starts(store: Store) -> None:
    job = store.pending(start_by=store.clock() + 60_000)
    store.clock.advance(60.001)

    assert store.repo().claim_job(job.job_id, attempt=0) is None

    over = store.repo().get_job(job.job_id)
    assert (over.status, over.failure and over.failure.kind) == (JobStatus.CANCELLED, FailureKind.CANCELLED)


def test_a_job_that_is_started_in_time_may_be_retried_after_it(store: Store) -> None:
    owner, job = store.claimed(start_by=store.clock() + 60_000)
    store.clock.advance(61)

    owner.reschedule(job.job_id)

    assert store.repo().claim_job(job.job_id, attempt=1) is not None


# --- jobs that go round
def after_releases(store: Store, job_id: str, uncharged: int) -> JobRepo:
    """Claim a job that its bodies have given back so often; its owner's repo."""
    store.repo().table.client().update_item(
        TableName=store.settings.job_table,
        Key={"job_id": {"S": job_id}},
        UpdateExpression="SET attempt = :n, releases = :n",
        ExpressionAttributeValues={":n": {"N": str(uncharged)}},
    )
    owner = store.repo()
    assert owner.claim_job(job_id, attempt=uncharged) is not None
    return owner


@pytest.mark.parametrize(
    ("uncharged", "least"),
    [(0, 0), (9, 0), (10, 1_000), (999, 1_000), (1_000, 10_000), (10_000, 60_000), (2_000_000, 60_000)],
)
def test_a_job_that_is_always_given_back_at_once_is_slowed(store: Store, uncharged: int, least: int) -> None:
    job = store.pending()
    owner = after_releases(store, job.job_id, uncharged)
    after = owner.release(job.job_id)
    assert (after.available_at - store.clock(), after.attempt) == (least, uncharged + 1)
    assert store.repo().claim_job(job.job_id, attempt=uncharged + 1) is not None, "a million attempts are no end"


def test_a_wait_that_is_longer_than_the_pace_and_a_body_that_did_not_run_are_left_as_they_are(store: Store) -> None:
    job, other = store.pending(), store.pending()
    longer = store.clock() + 5_000
    assert after_releases(store, job.job_id, 500).release(job.job_id, available_at=longer).available_at == longer
    released = after_releases(store, other.job_id, 500).release(other.job_id, started=False)
    assert (released.available_at, released.releases) == (store.clock(), 500)


def test_a_new_run_is_not_slowed_by_what_the_runs_before_did(store: Store) -> None:
    job = store.pending()
    owner = after_releases(store, job.job_id, 20_000)
    owner.update_status(job.job_id, "FAILED", error="no more")
    again = store.repo().retry_job(job.job_id)
    assert (again.attempt, again.releases) == (20_001, 0)
    owner = store.repo()
    assert owner.claim_job(job.job_id) is not None
    released = owner.release(job.job_id)
    assert (released.available_at, released.releases) == (store.clock(), 1)


# --- what a submission says
def test_every_argument_of_a_submission_is_stored(store: Store) -> None:
    now = store.clock()
    asked: dict[str, Any] = {
        "idempotency_key": "k",
        "ttl": 7.5,
        "fingerprint": "f",
        "available_at": now + 1_000,
        "max_attempts": 2,
        "on_orphan": "retry",
        "start_by": now + 5_000,
        "envelope": "links",
    }
    job = store.repo().create_job(
        "tasks.work", {"a": 1}, queue="default", hard_limit=600, failure_policy='{"critical":true}', **asked
    )
    read = store.repo().get_job(job.job_id)
    stored = {name.replace("ttl", "idempotency_ttl"): value for name, value in asked.items()}
    assert {name: getattr(read, name) for name in stored} == stored
    assert (read.task, read.payload, read.queue, read.created_at) == ("tasks.work", {"a": 1}, "default", now)
    assert (read.lease_ms, read.failure_policy) == (660_000, '{"critical":true}')
