"""Equal submissions are one job: the conditional put is the whole deduplication."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobclaim.jobs import IdempotencyMismatch, Job, JobStatus
from jobclaim.jobs.idempotency import store_result
from jobclaim.jobs.transitions import Move
from tests.contract.stores import Store

pytestmark = pytest.mark.embedded


def submit(store: Store, payload: Any = None, **options: Any) -> Job:
    return store.repo().create_job("tasks.work", payload, **{"idempotency_key": "k", "ttl": 100, **options})


def test_a_duplicate_of_a_waiting_job_is_that_job(store: Store) -> None:
    first = submit(store)
    before = store.items()

    again = submit(store)

    assert (again.created, again) == (False, first)
    assert store.items() == before


def test_a_duplicate_of_a_running_job_is_that_job(store: Store) -> None:
    first = submit(store)
    claim = store.repo().claim_job(first.job_id)
    before = store.items()

    again = submit(store)

    assert (again.created, again) == (False, claim)
    assert store.items() == before


def test_a_duplicate_of_a_completed_job_comes_with_its_result_until_the_window_ends(store: Store) -> None:
    first, worker = submit(store), store.repo()
    worker.claim_job(first.job_id)
    store.clock.advance(50)
    done = worker.update_status(first.job_id, "COMPLETED", result={"rows": 3})
    before = store.items()

    store.clock.advance(99.999)
    again = submit(store)
    assert (again.created, again, again.result) == (False, done, {"rows": 3})
    assert store.items() == before

    store.clock.advance(0.001)
    anew = submit(store)
    assert (anew.created, anew.job_id, anew.status, anew.result) == (True, first.job_id, JobStatus.PENDING, None)
    assert store.repo().get_job(first.job_id) == anew


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
def test_a_failure_is_never_cached(store: Store, end: str) -> None:
    first, worker = submit(store), store.repo()
    worker.claim_job(first.job_id)
    ended = worker.update_status(first.job_id, end)

    anew = submit(store)

    assert (anew.created, anew.status, anew.attempt, anew.charged) == (True, JobStatus.PENDING, 1, 0)
    assert anew.history == ended.history
    assert store.repo().get_job(first.job_id) == anew


def test_a_run_anew_takes_all_of_the_new_submission_and_nothing_of_the_old(store: Store) -> None:
    old = submit(store, {"n": 1}, max_attempts=5)
    worker = store.repo()
    worker.claim_job(old.job_id, worker_id="w", celery_task_id="c")
    worker.update_status(old.job_id, "COMPLETED", result="old", ttl=0.001)
    store.clock.advance(1)

    new = submit(store, {"n": True}, queue="ai", on_orphan="retry", ttl=7)

    stored = store.repo().get_job(old.job_id)
    assert (stored, stored.payload["n"]) == (new, True)
    assert type(stored.payload["n"]) is bool
    assert (stored.queue, stored.on_orphan, stored.idempotency_ttl) == ("ai", "retry", 7)
    assert (stored.claim_token, stored.worker_id, stored.celery_task_id, stored.finished_at) == ("", "", "", 0)
    assert [job.job_id for job in store.repo().list_jobs("PENDING", queue="ai").jobs] == [old.job_id]


@pytest.mark.parametrize("move", [Move.SUBMIT, Move.RECORD, Move.REVIVE, Move.FORGET])
def test_an_end_of_the_same_millisecond_is_not_mistaken_for_the_one_that_was_read(store: Store, move: Move) -> None:
    first, worker = submit(store), store.repo()
    worker.claim_job(first.job_id)
    read = worker.update_status(first.job_id, "FAILED")
    recorded = store_result(store.repo(), "tasks.work", "k", "done")
    assert (recorded.attempt, recorded.finished_at) == (read.attempt, read.finished_at)
    before = store.items()

    written = store.repo().table.apply(read, move, read)

    assert not written.applied
    assert store.items() == before


def test_the_messages_of_the_run_before_cannot_start_the_run_anew(store: Store) -> None:
    first, worker = submit(store), store.repo()
    worker.claim_job(first.job_id, attempt=0)
    worker.update_status(first.job_id, "FAILED")

    anew = submit(store)

    assert store.repo().claim_job(first.job_id, attempt=0) is None
    assert store.repo().claim_job(first.job_id, attempt=anew.attempt) is not None


@pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "COMPLETED"])
def test_the_same_key_for_other_arguments_is_refused_and_nothing_is_written(store: Store, state: str) -> None:
    first, worker = submit(store, {"n": 1}), store.repo()
    if state != "PENDING":
        worker.claim_job(first.job_id)
    if state == "COMPLETED":
        worker.update_status(first.job_id, "COMPLETED")
    before = store.items()

    for other in ({"n": 2}, {"n": True}, {"n": 1.0}):
        with pytest.raises(IdempotencyMismatch, match="was used for other arguments"):
            submit(store, other)
    assert store.items() == before


def test_a_fingerprint_stands_for_the_arguments(store: Store) -> None:
    first = submit(store, {"n": 1, "asked_at": 1}, fingerprint="n=1")

    assert submit(store, {"n": 1, "asked_at": 2}, fingerprint="n=1") == first
    with pytest.raises(IdempotencyMismatch):
        submit(store, {"n": 1, "asked_at": 1}, fingerprint="n=2")


def test_the_same_key_of_another_task_is_another_job(store: Store) -> None:
    first, other = submit(store), store.repo().create_job("tasks.other", idempotency_key="k")

    assert other.created
    assert other.job_id != first.job_id


def test_the_same_id_is_the_same_job_but_not_that_of_another_task(store: Store) -> None:
    first = store.repo().create_job("tasks.work", 1, job_id="j")
    before = store.items()

    assert not store.repo().create_job("tasks.work", 1, job_id="j").created
    with pytest.raises(IdempotencyMismatch, match=r"belongs to a job of task 'tasks\.work', not 'tasks.other'"):
        store.repo().create_job("tasks.other", 1, job_id="j")
    assert store.items() == before
    assert store.repo().get_job("j") == first


def test_an_id_is_free_again_once_its_jobs_retention_is_over(store: Store) -> None:
    worker = store.repo()
    worker.create_job("tasks.work", "old", job_id="j")
    worker.claim_job("j")
    worker.update_status("j", "COMPLETED")
    store.clock.advance(8 * 86_400)

    new = store.repo().create_job("tasks.work", "new", job_id="j")

    assert (new.created, new.attempt) == (True, 1)
    assert store.repo().get_job("j") == new


def _nothing(store: Store) -> None:
    """No job has the key yet."""


def _failed(store: Store) -> None:
    store.failed(idempotency_key="k")


def _window_over(store: Store) -> None:
    store.completed(idempotency_key="k", ttl=1)
    store.clock.advance(1)


def _retention_over(store: Store) -> None:
    store.completed(idempotency_key="k")
    store.clock.advance(8 * 86_400)


@pytest.mark.real
@pytest.mark.parametrize("before", [_nothing, _failed, _window_over, _retention_over])
@pytest.mark.parametrize("round_", range(3))
def test_of_16_threads_that_submit_the_same_key_at_once_one_creates_the_job(
    atomic_store: Store, before: Callable[[Store], None], round_: int
) -> None:
    before(atomic_store)
    start = threading.Barrier(16)

    def race(_: int) -> Job:
        repo = atomic_store.repo()
        start.wait(30)
        return repo.create_job("tasks.work", {"n": 1}, idempotency_key="k")

    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(race, range(16)))

    created = [job for job in jobs if job.created]
    assert len(created) == 1
    assert all(job == created[0] for job in jobs)
    assert atomic_store.repo().get_job(created[0].job_id) == created[0]
    assert len(atomic_store.items()) == 1
