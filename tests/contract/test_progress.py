"""Progress: few writes, the last value is not lost, and a zombie learns from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from jobclaim.jobs import ClaimLost, Failure, FailureKind, InvalidInput, InvalidPayload, Job, JobRepo, JobStatus
from jobclaim.jobs.kept import Progress
from jobclaim.jobs.repo import rescue
from tests.contract.stores import LossyClient, Store

ORPHANED = Failure(kind=FailureKind.ORPHANED, message="lease over")


def stored(store: Store, job: Job) -> Job:
    return store.repo().get_job(job.job_id)


def told(store: Store, job: Job) -> tuple[float | None, float | None, str]:
    progress = stored(store, job).progress
    assert progress is not None
    return progress.done, progress.total, progress.message


def test_progress_is_written_at_once_and_then_at_most_once_in_its_time(store: Store) -> None:
    line = LossyClient(store.line, times=0)
    owner = store.repo(line)
    job = owner.claim_job(store.pending().job_id)
    assert job is not None
    before = line.writes

    for n in range(100):
        owner.progress(job.job_id, n, 100, f"row {n}")
        store.clock.advance(0.1)

    assert line.writes - before == 2  # at 0 and at 5 s
    assert told(store, job) == (50, 100, "row 50")
    assert stored(store, job).status is JobStatus.PROCESSING


ENDS: dict[str, Callable[[JobRepo, Job], object]] = {
    "complete": lambda repo, job: repo.update_status(job.job_id, "COMPLETED", result=1),
    "fail": lambda repo, job: repo.update_status(job.job_id, "FAILED", error="no"),
    "retry": lambda repo, job: repo.reschedule(job.job_id),
    "release": lambda repo, job: repo.release(job.job_id),
    "wait": lambda repo, job: repo.wait_for(job.job_id, "go"),
    "step": lambda repo, job: repo.step(job.job_id, "one", len, ""),
    "flush": lambda repo, job: repo.progress(job.job_id, 3, 4, "last", flush=True),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_last_value_goes_with_the_next_write_of_any_kind(store: Store, end: str) -> None:
    line = LossyClient(store.line, times=0)
    owner = store.repo(line)
    job = owner.claim_job(store.pending().job_id)
    assert job is not None
    owner.progress(job.job_id, 1, 4, "first", checkpoint={"row": 1})
    owner.progress(job.job_id, 3, 4, "last", checkpoint={"row": 3})
    before = line.writes

    ENDS[end](owner, job)

    assert line.writes - before == 1
    assert told(store, job) == (3, 4, "last")
    assert stored(store, job).checkpoint == {"row": 1 if end == "complete" else 3}


@pytest.mark.parametrize("end", ["retry", "release", "wait"])
def test_a_checkpoint_is_there_for_the_next_attempt(store: Store, end: str) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, checkpoint=[1, {"cursor": "abc"}])
    ENDS[end](owner, job)
    store.clock.advance(401 * 86_400)

    again = store.repo().claim_job(job.job_id)

    assert again is not None
    assert again.checkpoint == [1, {"cursor": "abc"}]


def test_what_a_body_does_with_its_checkpoint_afterwards_changes_nothing(store: Store) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, 1)
    cursor = {"row": 1}
    owner.progress(job.job_id, checkpoint=cursor)
    cursor["row"] = 2
    owner.reschedule(job.job_id)

    assert stored(store, job).checkpoint == {"row": 1}


def test_a_zombie_learns_from_progress_that_its_claim_is_over(store: Store) -> None:
    zombie, job = store.claimed()
    assert rescue.orphan_retry(store.repo(), job, ORPHANED) is not None
    assert store.repo().claim_job(job.job_id) is not None

    with pytest.raises(ClaimLost, match="PROCESSING in attempt 2"):
        zombie.progress(job.job_id, 1, 2)

    assert stored(store, job).progress is None


def test_an_outage_of_the_table_fails_no_body_and_loses_no_last_value(store: Store) -> None:
    line = LossyClient(store.line, times=0, arrives=False, error=lambda: ReadTimeoutError(endpoint_url="http://x"))
    owner = store.repo(line)
    job = owner.claim_job(store.pending().job_id)
    assert job is not None
    line.lose_after(0, times=3, arrives=False)

    owner.progress(job.job_id, 1, 2)
    owner.update_status(job.job_id, "COMPLETED")

    assert told(store, job) == (1, 2, "")


def test_rate_and_time_left_come_from_the_attempts_first_report(store: Store) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, 100, 1000)
    store.clock.advance(10)
    owner.progress(job.job_id, 300, 1000)
    store.clock.advance(5)

    progress = stored(store, job).progress
    assert progress is not None
    assert (progress.share, progress.rate, progress.seconds_left(store.clock())) == (0.3, 20.0, 30.0)
    assert Progress(done=1).share is None
    assert Progress(done=1, total=0).share is None
    assert Progress(done=5, total=4, first_done=0, first_at=1, at=2).share == 1.0


def test_a_later_attempt_begins_its_rate_anew(store: Store) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, 900, 1000)
    owner.reschedule(job.job_id)
    store.clock.advance(100)
    owner = store.repo()
    assert owner.claim_job(job.job_id) is not None
    owner.progress(job.job_id, 0, 1000)

    progress = stored(store, job).progress
    assert progress is not None
    assert (progress.attempt, progress.first_done, progress.rate) == (2, 0, None)


BAD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "text": {"done": "1"},
    "NaN": {"done": float("nan")},
    "a flag": {"total": True},
    "no text": {"message": 5},
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_progress_is_refused(store: Store, bad: str) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidInput):
        owner.progress(job.job_id, **BAD[bad])


def test_a_checkpoint_that_cannot_be_stored_is_refused_where_it_is_given(store: Store) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, 1)

    with pytest.raises(InvalidPayload, match="checkpoint takes 200002 bytes"):
        owner.progress(job.job_id, checkpoint="x" * 200_000)
    with pytest.raises(InvalidPayload, match="checkpoint is of type set"):
        owner.progress(job.job_id, checkpoint={1, 2})
    assert owner.update_status(job.job_id, "COMPLETED").status is JobStatus.COMPLETED


def test_a_message_is_cut_and_a_state_of_ones_own_is_kept(store: Store) -> None:
    owner, job = store.claimed()
    owner.progress(job.job_id, message="é" * 5000)
    progress = stored(store, job).progress
    assert progress is not None
    assert 80 < len(progress.message) < 500

    running = owner.running(job.job_id)
    store.clock.advance(5)
    running.update_state("SENDING", {"current": 3, "total": 10, "who": "ann"})
    progress = stored(store, job).progress
    assert progress is not None
    assert (progress.state, progress.done, progress.total, progress.meta["who"]) == ("SENDING", 3, 10, "ann")
    with pytest.raises(InvalidInput, match="state="):
        running.update_state("", None)
