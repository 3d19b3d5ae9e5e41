"""Many claim, one wins: proved on a store whose conditional writes are atomic."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.jobs import ClaimLost, Failure, FailureKind, Job, JobRepo
from jobclaim.jobs.repo import rescue
from tests.contract.racers import run_race
from tests.contract.stores import Store

pytestmark = pytest.mark.real


def test_of_32_threads_that_race_for_50_jobs_exactly_one_wins_each(atomic_store: Store) -> None:
    job_ids = [atomic_store.pending().job_id for _ in range(50)]
    start = threading.Barrier(32)

    def race(_: int) -> list[Job]:
        repo = atomic_store.repo()
        won = []
        for job_id in job_ids:
            start.wait(30)
            job = repo.claim_job(job_id, celery_task_id="the-same-delivery")
            won += [job] if job else []
        return won

    with ThreadPoolExecutor(32) as pool:
        won_by_thread = list(pool.map(race, range(32)))

    won = [job for jobs in won_by_thread for job in jobs]
    assert sum(bool(jobs) for jobs in won_by_thread) > 1, "nobody raced"
    assert Counter(job.job_id for job in won) == Counter(job_ids)
    items = atomic_store.items()
    assert all(items[job.job_id]["claim_token"]["S"] == job.claim_token for job in won)
    assert {item["attempt"]["N"] for item in items.values()} == {"1"}


def test_of_32_threads_of_one_process_that_share_a_repo_exactly_one_wins_each(atomic_store: Store) -> None:
    job_ids = [atomic_store.pending().job_id for _ in range(50)]
    repo, start = atomic_store.repo(), threading.Barrier(32)

    def race_and_complete(_: int) -> int:
        start.wait(30)
        won = [job for job_id in job_ids if (job := repo.claim_job(job_id)) is not None]
        for job in won:
            repo.update_status(job.job_id, "COMPLETED", result=job.claim_token)
        return len(won)

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(race_and_complete, range(32))) == 50

    items = atomic_store.items()
    assert {item["status"]["S"] for item in items.values()} == {"COMPLETED"}
    assert all(item["result"]["S"] == f'"{item["claim_token"]["S"]}"' for item in items.values())


def test_of_16_processes_that_race_for_100_jobs_exactly_one_wins_each(atomic_store: Store) -> None:
    job_ids = [atomic_store.pending().job_id for _ in range(100)]
    settings = atomic_store.settings.model_copy(update={"dynamodb_endpoint_url": atomic_store.endpoint_url})

    won = run_race(settings, job_ids, racers=16, seconds=180)

    assert sum(bool(claims) for claims in won) > 1, "nobody raced"
    assert Counter(job_id for claims in won for job_id, _ in claims) == Counter(job_ids)
    items = atomic_store.items()
    assert all(items[job_id]["claim_token"]["S"] == token for claims in won for job_id, token in claims)
    assert {item["attempt"]["N"] for item in items.values()} == {"1"}


@pytest.mark.parametrize("attempt", [0, None], ids=["of one message", "that name no attempt"])
@pytest.mark.parametrize("round_", range(10))
def test_of_two_deliveries_with_the_same_celery_task_id_one_wins(
    atomic_store: Store, attempt: int | None, round_: int
) -> None:
    job = atomic_store.pending()
    workers, start = [atomic_store.repo(), atomic_store.repo()], threading.Barrier(2)

    def deliver(which: int) -> Job | None:
        start.wait(30)
        return workers[which].claim_job(job.job_id, celery_task_id=job.job_id, attempt=attempt)

    with ThreadPoolExecutor(2) as pool:
        claims = list(pool.map(deliver, range(2)))

    assert [claim is None for claim in claims].count(True) == 1
    assert [claim.attempt for claim in claims if claim] == [1]


def test_owner_and_recovery_race_for_the_end_of_an_attempt_and_one_of_them_has_it(atomic_store: Store) -> None:
    for _ in range(40):
        owner, job = atomic_store.claimed()
        with ThreadPoolExecutor(2) as pool:
            start = threading.Barrier(2)
            futures = pool.submit(complete, owner, job, start), pool.submit(orphan, atomic_store.repo(), job, start)
            completed, orphaned = (future.result(60) for future in futures)

        after = atomic_store.repo().get_job(job.job_id)
        assert completed is not orphaned
        assert (after.status, after.result) == (("COMPLETED", "mine") if completed else ("FAILED", None))


def complete(owner: JobRepo, job: Job, start: threading.Barrier) -> bool:
    start.wait(30)
    try:
        owner.update_status(job.job_id, "COMPLETED", result="mine")
    except ClaimLost:
        return False
    return True


def orphan(recovery: JobRepo, job: Job, start: threading.Barrier) -> bool:
    read = recovery.get_job(job.job_id)
    start.wait(30)
    return rescue.orphan_fail(recovery, read, Failure(kind=FailureKind.ORPHANED, message="lease over")) is not None
