"""A write was applied and its answer lost: it counts once, and only for whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from jobclaim.jobs import ClaimLost, Failure, FailureKind, Job, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.idempotency import store_result
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.transitions import Move
from tests.contract.stores import LossyClient, Store, TwiceClient, complete_as_planned

LINE = "http://dynamodb"
ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")
ERRORS: dict[str, Callable[[], Exception]] = {
    "read timeout": lambda: ReadTimeoutError(endpoint_url=LINE),
    "no connection": lambda: EndpointConnectionError(endpoint_url=LINE),
    "connect timeout": lambda: ConnectTimeoutError(endpoint_url=LINE),
    "connection closed": lambda: ConnectionClosedError(endpoint_url=LINE),
    "server error": lambda: ClientError(
        cast("Any", {"Error": {"Code": "InternalServerError"}, "ResponseMetadata": {"HTTPStatusCode": 500}}),
        "UpdateItem",
    ),
}

Write = Callable[[JobRepo, Job], Job | None]
OWNERS_WRITES: dict[str, Write] = {
    "complete": lambda repo, job: repo.update_status(job.job_id, "COMPLETED", result=[1], token=job.claim_token),
    "complete as planned": complete_as_planned,
    "fail": lambda repo, job: repo.update_status(job.job_id, "FAILED", error=ValueError("no"), token=job.claim_token),
    "stop": lambda repo, job: repo.update_status(job.job_id, "CANCELLED", token=job.claim_token),
    "reschedule": lambda repo, job: repo.reschedule(job.job_id, error="busy", token=job.claim_token),
    "release": lambda repo, job: repo.release(job.job_id, reason="shutdown", token=job.claim_token),
}
RECOVERYS_WRITES: dict[str, tuple[Callable[[Store], Job], Write]] = {
    "orphan-fail": (lambda store: store.claimed()[1], lambda repo, job: rescue.orphan_fail(repo, job, ORPHANED)),
    "orphan-retry": (lambda store: store.claimed()[1], lambda repo, job: rescue.orphan_retry(repo, job, ORPHANED)),
    "orphan-stop": (lambda store: store.claimed()[1], lambda repo, job: rescue.orphan_stop(repo, job, ORPHANED)),
    "give-up": (lambda store: store.pending(), lambda repo, job: rescue.give_up(repo, job, ORPHANED)),
    "expire": (lambda store: store.pending(start_by=store.clock() + 1), rescue.expire),
    "dispatch": (lambda store: store.pending(), rescue.dispatch),
    "revive": (lambda store: store.failed(), rescue.revive),
}
"""How a job comes to need it, and the write."""
BAD_LINES: dict[str, Callable[[Any], Any]] = {
    "answer lost": LossyClient,
    "answer lost twice": lambda client: LossyClient(client, times=2),
    "request lost": lambda client: LossyClient(client, arrives=False),
    "sent twice": TwiceClient,
}


@pytest.fixture(params=BAD_LINES)
def bad_line(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """A client to whose writes something happens."""
    return BAD_LINES[request.param]


def stored(store: Store, job: Job | None) -> Job:
    assert job is not None
    return store.repo().get_job(job.job_id)


# --- it succeeds once
def test_a_submission_over_a_bad_line_is_made_once_and_is_ones_own(
    store: Store, bad_line: Callable[[Any], Any]
) -> None:
    job = store.repo(bad_line(store.line)).create_job("tasks.work", {"n": 1})

    assert job.created
    assert list(store.items()) == [job.job_id]
    assert stored(store, job) == job


def test_a_keyed_submission_over_a_bad_line_is_no_duplicate_of_itself(
    store: Store, bad_line: Callable[[Any], Any]
) -> None:
    job = store.repo(bad_line(store.line)).create_job("tasks.work", {"n": 1}, idempotency_key="k")

    assert (job.created, stored(store, job)) == (True, job)
    assert not store.pending(idempotency_key="k").created


def test_a_run_anew_over_a_bad_line_names_the_attempt_that_its_message_must_name(store: Store) -> None:
    """Here the put goes through and is refused; the write in the old job's place is the one whose answer is lost."""
    store.failed(idempotency_key="k")
    line = LossyClient(store.line, times=0)
    repo = store.repo(line)
    line.lose_after(1)

    job = repo.create_job("tasks.work", {"n": 1}, idempotency_key="k")

    assert line.writes == 3
    assert (job.created, job.attempt, job.status) == (True, 1, JobStatus.PENDING)
    assert stored(store, job) == job
    assert store.repo().claim_job(job.job_id, attempt=job.attempt) is not None


@pytest.mark.parametrize("error", ERRORS)
def test_a_claim_whose_answer_is_lost_succeeds_once_and_for_its_owner_alone(store: Store, error: str) -> None:
    job = store.pending()
    line = LossyClient(store.line, error=ERRORS[error])
    owner = store.repo(line)

    claim = owner.claim_job(job.job_id, celery_task_id="c1", attempt=0)

    assert claim is not None
    assert line.writes == 2
    assert stored(store, claim) == claim
    assert claim.attempt == claim.charged == 1
    assert store.repo().claim_job(job.job_id, celery_task_id="c1") is None
    assert owner.update_status(job.job_id, "COMPLETED").status is JobStatus.COMPLETED


def test_a_claim_over_a_bad_line_is_made_once(store: Store, bad_line: Callable[[Any], Any]) -> None:
    claim = store.repo(bad_line(store.line)).claim_job(store.pending().job_id)

    assert claim is not None
    assert (claim.attempt, stored(store, claim)) == (1, claim)


@pytest.mark.parametrize("write", OWNERS_WRITES)
def test_the_end_of_an_attempt_over_a_bad_line_is_written_once(
    store: Store, write: str, bad_line: Callable[[Any], Any]
) -> None:
    _, claim = store.claimed()

    ended = OWNERS_WRITES[write](store.repo(bad_line(store.line)), claim)

    assert ended is not None
    assert ended.status is not JobStatus.PROCESSING
    assert stored(store, ended) == ended
    assert len(ended.history) == (0 if write.startswith("complete") else 1)


def test_a_retry_by_a_person_over_a_bad_line_is_made_once(store: Store, bad_line: Callable[[Any], Any]) -> None:
    failed = store.failed()

    retried = store.repo(bad_line(store.line)).retry_job(failed.job_id)

    assert (retried.status, stored(store, retried)) == (JobStatus.PENDING, retried)


def test_a_cancellation_over_a_bad_line_is_made_once(store: Store, bad_line: Callable[[Any], Any]) -> None:
    job = store.pending()

    cancelled = store.repo(bad_line(store.line)).cancel_job(job.job_id)

    assert (cancelled.status, stored(store, cancelled)) == (JobStatus.CANCELLED, cancelled)


@pytest.mark.parametrize("write", RECOVERYS_WRITES)
def test_what_recovery_writes_over_a_bad_line_counts_once(
    store: Store, write: str, bad_line: Callable[[Any], Any]
) -> None:
    made, rescued = RECOVERYS_WRITES[write]
    job = stored(store, made(store))
    store.clock.advance(1)

    after = rescued(store.repo(bad_line(store.line)), job)

    assert after is not None, "the pass takes it for refused: it sends no message and tells nobody"
    assert stored(store, after) == after
    assert rescued(store.repo(), job) is None


@pytest.mark.parametrize("write", ["orphan-fail", "give-up"])
def test_a_failure_that_recovery_wrote_counts_though_a_person_has_settled_it_since(store: Store, write: str) -> None:
    made, rescued = RECOVERYS_WRITES[write]
    job = stored(store, made(store))

    def settle() -> None:
        failed = stored(store, job)
        after = lifecycle.concluded(
            failed, Move.RESOLVE, store.clock(), store.repo().retention, by="ann", why="done by hand"
        )
        assert store.repo().table.apply(failed, Move.RESOLVE, after).applied

    after = rescued(store.repo(LossyClient(store.line, meanwhile=settle)), job)

    assert after is not None
    assert stored(store, job).dead_state == DeadState.RESOLVED


def test_an_orphan_retry_counts_though_the_next_attempt_runs_already(store: Store) -> None:
    _, claim = store.claimed()
    line = LossyClient(store.line, meanwhile=lambda: store.repo().claim_job(claim.job_id))

    after = rescue.orphan_retry(store.repo(line), claim, ORPHANED)

    assert after is not None
    assert (after.status, stored(store, claim).attempt) == (JobStatus.PENDING, 2)
    assert store.repo().claim_job(claim.job_id, attempt=after.attempt) is None  # its message starts nothing


# --- and nobody else's write is taken for one's own
@pytest.mark.parametrize("later", [0.001, 0])
@pytest.mark.parametrize("write", RECOVERYS_WRITES)
def test_what_another_pass_wrote_is_refused_to_the_pass_whose_request_was_lost(
    store: Store, write: str, later: float
) -> None:
    made, rescued = RECOVERYS_WRITES[write]
    job = stored(store, made(store))
    store.clock.advance(1)

    def other_pass() -> None:
        store.clock.advance(later)
        assert rescued(store.repo(), job) is not None

    assert rescued(store.repo(LossyClient(store.line, arrives=False, meanwhile=other_pass)), job) is None


@pytest.mark.parametrize("write", RECOVERYS_WRITES)
def test_two_passes_that_write_the_same_in_one_millisecond_do_not_both_count(store: Store, write: str) -> None:
    made, rescued = RECOVERYS_WRITES[write]
    job = stored(store, made(store))
    store.clock.advance(1)

    assert rescued(store.repo(), job) is not None
    assert rescued(store.repo(), job) is None


def test_a_claim_of_somebody_else_is_not_mistaken_for_mine(store: Store) -> None:
    job = store.pending()
    rival = store.repo()
    line = LossyClient(
        store.line, arrives=False, meanwhile=lambda: rival.claim_job(job.job_id, celery_task_id="the-same")
    )
    mine = store.repo(line)

    assert mine.claim_job(job.job_id, celery_task_id="the-same") is None
    assert line.writes == 2
    assert rival.update_status(job.job_id, "COMPLETED", result="rival").result == "rival"


@pytest.mark.parametrize("acted", ["orphan_fail", "orphan_retry"])
def test_a_claim_that_recovery_has_ended_meanwhile_is_not_taken_for_a_claim(store: Store, acted: str) -> None:
    job = store.pending()

    def recover() -> None:
        assert getattr(rescue, acted)(store.repo(), stored(store, job), ORPHANED) is not None

    owner = store.repo(LossyClient(store.line, meanwhile=recover))

    claim = owner.claim_job(job.job_id, attempt=0)

    assert claim is None
    assert stored(store, job).status is (JobStatus.FAILED if acted == "orphan_fail" else JobStatus.PENDING)


@pytest.mark.parametrize("write", OWNERS_WRITES)
@pytest.mark.parametrize("acted", ["orphan_fail", "orphan_retry"])
def test_what_recovery_wrote_meanwhile_is_not_taken_for_the_owners_write(store: Store, write: str, acted: str) -> None:
    _, claim = store.claimed()
    after: list[Any] = []

    def recover() -> None:
        assert getattr(rescue, acted)(store.repo(), claim, ORPHANED) is not None
        after.append(store.items())

    with pytest.raises(ClaimLost):
        OWNERS_WRITES[write](store.repo(LossyClient(store.line, arrives=False, meanwhile=recover)), claim)

    assert store.items() == after[0]


@pytest.mark.parametrize("write", ["fail", "stop", "reschedule", "release"])
def test_the_owners_write_counts_even_when_the_next_attempt_runs_before_it_knows(store: Store, write: str) -> None:
    _, claim = store.claimed(idempotency_key="k")

    def go_on() -> None:
        if write == "fail":
            store.repo().retry_job(claim.job_id)
        elif write == "stop":
            assert store.pending(idempotency_key="k").created
        assert store.repo().claim_job(claim.job_id) is not None

    ended = OWNERS_WRITES[write](store.repo(LossyClient(store.line, meanwhile=go_on)), claim)

    assert ended is not None
    assert [entry.claim_token for entry in ended.history] == [claim.claim_token]
    assert (stored(store, claim).status, stored(store, claim).attempt) == (JobStatus.PROCESSING, 2)


def test_an_owner_is_told_of_its_own_retry_when_a_later_run_waits_before_it_knows(store: Store) -> None:
    job = store.pending(idempotency_key="k")
    rival = store.repo()

    def cancelled_and_submitted_again() -> None:
        rival.cancel_job(job.job_id)
        assert store.pending(idempotency_key="k").created

    line = LossyClient(store.line, meanwhile=cancelled_and_submitted_again)
    line.lose_after(1)
    owner = store.repo(line)
    assert owner.claim_job(job.job_id) is not None

    told = owner.reschedule(job.job_id, error="try again")

    now = stored(store, told)
    assert (told.status, told.attempt, told.submission) == (JobStatus.PENDING, 1, job.submission)
    assert (now.status, now.attempt) == (JobStatus.PENDING, 2)
    assert store.repo().claim_job(job.job_id, attempt=told.attempt) is None  # its message starts nothing


def test_a_submission_that_was_applied_and_replaced_before_its_answer_makes_a_run_with_a_name_of_its_own(
    store: Store,
) -> None:
    store.failed(idempotency_key="k")
    runs: list[str] = []

    def others() -> None:
        rival = store.repo()
        (open_job,) = rival.list_jobs("PENDING").jobs
        rival.cancel_job(open_job.job_id)
        runs.append(open_job.submission)
        runs.append(store_result(rival, "tasks.work", "k", 1, ttl_seconds=1).submission)
        store.clock.advance(2)

    line = LossyClient(store.line, meanwhile=others)
    line.lose_after(1)  # the put, which is refused
    again = store.repo(line).create_job("tasks.work", {"n": 1}, idempotency_key="k")

    assert again.created
    assert stored(store, again) == again
    assert len({*runs, again.submission}) == 3


def test_a_second_and_different_end_of_one_attempt_is_told_that_it_did_not_count(store: Store) -> None:
    """The child reports the exception, and the parent, which knows the token too, that the child is gone."""
    owner, claim = store.claimed()

    def child_reports() -> None:
        owner.update_status(claim.job_id, "FAILED", error=ValueError("the real cause"))

    parent = store.repo(LossyClient(store.line, arrives=False, meanwhile=child_reports))

    with pytest.raises(ClaimLost, match="it is FAILED in attempt 1"):
        parent.update_status(claim.job_id, "FAILED", error="worker lost", token=claim.claim_token)
    failure = stored(store, claim).failure
    assert failure is not None
    assert failure.message == "the real cause"


def test_a_submission_of_somebody_else_is_not_mistaken_for_mine(store: Store) -> None:
    line = LossyClient(store.line, arrives=False, meanwhile=lambda: store.pending(idempotency_key="k"))

    job = store.repo(line).create_job("tasks.work", {"n": 1}, idempotency_key="k")

    assert (job.created, len(store.items())) == (False, 1)


def test_a_retry_by_somebody_else_is_not_mistaken_for_mine(store: Store) -> None:
    failed = store.failed()
    line = LossyClient(store.line, arrives=False, meanwhile=lambda: store.repo().retry_job(failed.job_id))

    with pytest.raises(Exception, match=r"was not retried: it changed meanwhile \(it is PENDING now\)"):
        store.repo(line).retry_job(failed.job_id)


# --- a line that stays bad
def test_a_line_that_stays_bad_ends_in_a_typed_error_and_the_claim_is_kept_for_another_try(store: Store) -> None:
    _, claim = store.claimed(hard_limit=60)
    line = LossyClient(store.line, arrives=False, times=10_000)
    worker = store.repo(line)

    with pytest.raises(StoreUnavailable, match="DynamoDB did not answer"):
        worker.update_status(claim.job_id, "COMPLETED", token=claim.claim_token)

    assert line.writes > 10, "tried until the lease was over"
    assert store.clock() == claim.lease_expires_at
    assert stored(store, claim) == claim


def test_a_submission_gives_up_after_three_tries(store: Store) -> None:
    line = LossyClient(store.line, arrives=False, times=10_000)

    with pytest.raises(StoreUnavailable):
        store.repo(line).create_job("tasks.work")

    assert (line.writes, store.items()) == (3, {})


def test_after_an_outage_the_same_repo_can_say_again_how_the_attempt_ended(store: Store) -> None:
    job = store.pending(hard_limit=60)
    line = LossyClient(store.line, times=0)
    worker = store.repo(line)
    assert worker.claim_job(job.job_id) is not None
    line.lose_after(0, times=10_000)
    with pytest.raises(StoreUnavailable):
        worker.update_status(job.job_id, "COMPLETED", result="done")
    line.lose_after(0, times=0)

    store.clock.advance(60)

    done = worker.update_status(job.job_id, "COMPLETED", result="done")

    assert (done, done.result) == (stored(store, job), "done")


def test_after_an_outage_the_same_repo_cannot_say_something_else_instead(store: Store) -> None:
    job = store.pending(hard_limit=60)
    line = LossyClient(store.line, times=0)
    worker = store.repo(line)
    assert worker.claim_job(job.job_id) is not None
    line.lose_after(0, times=10_000)
    with pytest.raises(StoreUnavailable):
        worker.update_status(job.job_id, "COMPLETED", result="done")
    line.lose_after(0, times=0)

    with pytest.raises(ClaimLost, match="it is COMPLETED"):
        worker.update_status(job.job_id, "FAILED", error="it seemed lost")
    assert stored(store, job).result == "done"
