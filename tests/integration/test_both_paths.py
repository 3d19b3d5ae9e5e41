"""A claim of plain task code gets what a `JobTask` gets: the same faults on each path, with real workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.submission.dispatch import publish
from tests.integration.test_lost_workers import CHILD_SECONDS, process_of, recovering
from tests.support.endpoints import Endpoint
from tests.support.faults import faulty
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
PATHS = ("both.job", "both.plain", "both.short", "both.block")
MODULES = ("tests.support.both_paths",)


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> Iterator[Stack]:
    with deployed(
        dynamodb_local,
        elasticmq,
        tmp_path,
        task_modules=MODULES,
        run_dir=str(tmp_path),
        heartbeat_seconds=2,
        worker_dead_after_seconds=8,
        recovery_interval_seconds=2,
        cancel_grace_seconds=1,
    ) as made:
        yield made


@pytest.fixture
def submit(stack: Stack) -> Callable[..., str]:
    return stack.submitter()


def evidence(job: Job) -> tuple[Any, ...]:
    """What `jobclaim show` tells of a job's end, without names that differ by run."""
    failure = job.failure
    return (
        job.status,
        job.attempt,
        failure and (failure.kind, failure.exception),
        [(past.outcome, bool(past.worker_id)) for past in job.history],
        bool(job.worker_id),
        bool(job.celery_task_id),
    )


def one_each(submit: Callable[..., str], *args: Any, **options: Any) -> list[str]:
    return [submit(path, *args, **options) for path in PATHS]


def same(jobs: dict[str, Job]) -> Job:
    """Give one of the jobs, whose ends must all be alike."""
    ends = {str(evidence(job)) for job in jobs.values()}
    assert len(ends) == 1, ends
    return next(iter(jobs.values()))


def test_a_killed_workers_jobs_are_orphans_of_a_known_worker(stack: Stack, submit: Callable[..., str]) -> None:
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep", 600)
    stack.wait_for_bodies(ids)
    with recovering(stack.settings):
        worker.send(signal.SIGKILL)
        killed = time.time()
        jobs = stack.wait_for(ids, JobStatus.FAILED, 60)
    assert max(job.finished_at for job in jobs.values()) / 1000 - killed < 20
    job = same(jobs)
    assert job.failure is not None
    assert job.failure.kind is FailureKind.ORPHANED


def test_a_killed_childs_job_fails_within_two_seconds(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep", 600)
    stack.wait_for_bodies(ids)
    killed = time.time()
    for job_id in ids:
        pid = process_of(stack, job_id)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    jobs = stack.wait_for(ids, JobStatus.FAILED, 30)
    assert max(job.finished_at for job in jobs.values()) / 1000 - killed < 2 * CHILD_SECONDS
    job = same(jobs)
    assert job.failure is not None
    assert job.failure.kind is FailureKind.ORPHANED


def test_a_killed_childs_job_that_may_run_again_does(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep once", 600, on_orphan="retry")
    stack.wait_for_bodies(ids)
    for job_id in ids:
        os.kill(process_of(stack, job_id) or 0, signal.SIGKILL)
    job = same(stack.wait_for(ids, JobStatus.COMPLETED, 30))
    assert (job.attempt, job.result["attempt"]) == (2, 2)


def test_a_running_job_is_cancelled(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep", 600)
    stack.wait_for_bodies(ids)
    assert [cancel(stack.repo, job_id) for job_id in ids] == [Answer.REQUESTED] * len(ids)
    job = same(stack.wait_for(ids, JobStatus.CANCELLED, 40))
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CANCELLED


def test_the_heartbeat_names_what_bodies_hold(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep", 600)
    stack.wait_for_bodies(ids)
    records = FleetRecords.of(stack.repo)
    wait_until(lambda: [set(ids)] == [set(record.jobs) for record in records.all()], 30, "the record names the jobs")


def test_a_failure_is_recorded_with_its_exception(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    jobs = stack.wait_for(one_each(submit, "raise", "the shop is closed"), JobStatus.FAILED, 30)
    job = same(jobs)
    assert job.failure is not None
    assert (job.failure.kind, job.failure.exception) == (FailureKind.TRANSIENT, "ConnectionError")
    assert all("the shop is closed" in str(each.failure and each.failure.message) for each in jobs.values())
    assert all("in act" in str(each.failure and each.failure.traceback) for each in jobs.values())


def test_outcomes_are_the_same_in_a_pool_without_processes(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-P", "threads", "-c", "4", "-Q", "default")
    failing, again = one_each(submit, "raise", "closed"), one_each(submit, "retry", 1)
    job = same(stack.wait_for(failing, JobStatus.FAILED, 30))
    assert job.failure is not None
    assert job.failure.exception == "ConnectionError"
    assert same(stack.wait_for(again, JobStatus.COMPLETED, 30)).attempt == 2
    assert set(stack.bodies().values()) == {1}


def test_celerys_retry_makes_the_job_wait_for_its_next_attempt(stack: Stack, submit: Callable[..., str]) -> None:
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "retry", 1)
    job = same(stack.wait_for(ids, JobStatus.COMPLETED, 30))
    assert (job.attempt, job.charged, [past.outcome for past in job.history]) == (2, 2, ["retry"])
    assert set(stack.bodies().values()) == {1}
    told = '"job.retry_scheduled"'
    wait_until(lambda: worker.log().count(told) >= len(PATHS), 30, "each retry is told")
    assert worker.log().count(told) == len(PATHS)


def test_a_message_delivered_five_times_starts_one_body(stack: Stack, submit: Callable[..., str]) -> None:
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    ids = one_each(submit, "sleep", 1, copies=5)
    same(stack.wait_for(ids, JobStatus.COMPLETED, 30))
    wait_until(lambda: worker.log().count('"claim.refused"') == 4 * len(PATHS), 40, "copies are refused")
    assert set(stack.bodies().values()) == {1}


def test_a_stop_gives_back_what_may_run_again_and_fails_the_rest(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """Takes 20 s: the stop waits out its timeout, since a body sleeps for longer."""
    with deployed(
        dynamodb_local,
        elasticmq,
        tmp_path,
        task_modules=MODULES,
        run_dir=str(tmp_path),
        stop_timeout_seconds=20,
    ) as stack:
        app = create_app(stack.settings)

        def send(task: str, **options: Any) -> str:
            job = app.jobclaim.repo.create_job(task, {"args": ["sleep once", 600], "kwargs": {}}, **options)
            publish(app, job)
            return str(job.job_id)

        worker = stack.worker("worker", "-c", "8", "-Q", "default")
        again = [send(path, on_orphan="retry") for path in PATHS]
        failing = [send(path) for path in PATHS]
        stack.wait_for_bodies(again + failing)
        worker.send(signal.SIGTERM)
        failed = same(stack.wait_for(failing, JobStatus.FAILED, 40))
        waiting = same(stack.wait_for(again, JobStatus.PENDING, 40))
        assert failed.failure is not None
        assert failed.failure.kind is FailureKind.ORPHANED
        assert (waiting.attempt, waiting.charged, [past.outcome for past in waiting.history]) == (1, 0, ["release"])
        worker.wait_for_exit(30)
        stack.worker("heir", "-c", "4", "-Q", "default")
        assert same(stack.wait_for(again, JobStatus.COMPLETED, 40)).attempt == 2


def test_a_hard_limit_is_recorded_at_once(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path) -> None:
    limits = {name: {"soft_limit": 4, "hard_limit": 6} for name in PATHS}
    with deployed(
        dynamodb_local, elasticmq, tmp_path, task_modules=MODULES, run_dir=str(tmp_path), tasks=limits
    ) as stack:
        app = create_app(stack.settings)
        stack.worker("worker", "-c", "4", "-Q", "default")
        made = [app.jobclaim.repo.create_job(name, {"args": ["stubborn", 60], "kwargs": {}}) for name in PATHS]
        for job in made:
            publish(app, job)
        jobs = stack.wait_for([job.job_id for job in made], JobStatus.FAILED, 30)
        job = same(jobs)
        assert job.failure is not None
        assert job.failure.kind is FailureKind.TIMEOUT
        assert all((each.finished_at - each.claimed_at) / 1000 <= 6 + CHILD_SECONDS for each in jobs.values())


def test_an_outage_during_the_last_write_costs_time_and_nothing_else(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """Takes 15 s: the outage has to outlast the tries of one request."""
    with (
        faulty(dynamodb_local) as (proxy, through),
        deployed(through, elasticmq, tmp_path, task_modules=MODULES, run_dir=str(tmp_path)) as stack,
    ):
        app, flag = create_app(stack.settings), tmp_path / "flag"
        worker = stack.worker("worker", "-c", "4", "-Q", "default")
        ids = [
            app.jobclaim.repo.create_job(name, {"args": ["wait for file", str(flag)], "kwargs": {}}) for name in PATHS
        ]
        for job in ids:
            publish(app, job)
        names = [job.job_id for job in ids]
        stack.wait_for_bodies(names)
        proxy.refuse()
        flag.touch()
        tried = "aws.failing"
        wait_until(lambda: worker.log().count(tried) >= len(names), 40, "each end is tried to be written")
        proxy.accept()
        job = same(stack.wait_for(names, JobStatus.COMPLETED, 40))
        assert (job.attempt, set(stack.bodies().values())) == (1, {1})


def test_a_zombies_late_write_changes_nothing(stack: Stack, submit: Callable[..., str], tmp_path: Path) -> None:
    worker = stack.worker("worker", "-c", "4", "-Q", "default")
    flag = tmp_path / "flag"
    ids = one_each(submit, "wait for file", str(flag))
    stack.wait_for_bodies(ids)
    for job_id in ids:  # as recovery does: the claim is over, and its owner does not know
        job = stack.repo.get_job(job_id)
        stack.repo.update_status(job_id, "FAILED", error="given up", token=job.claim_token)
    flag.touch()
    wait_until(lambda: worker.log().count('"claim.lost"') >= len(PATHS), 30, "zombies are told")
    assert {job.failure.message for job in stack.wait_for(ids, JobStatus.FAILED, 5).values() if job.failure} == {
        "given up"
    }


def test_a_deploy_loses_and_doubles_nothing(stack: Stack, submit: Callable[..., str], tmp_path: Path) -> None:
    """The old worker ends what it has while the new one takes what comes."""
    old = stack.worker("old", "-c", "4", "-Q", "default")
    flag = tmp_path / "flag"
    running = one_each(submit, "wait for file", str(flag))
    stack.wait_for_bodies(running)
    old.send(signal.SIGTERM)
    stack.worker("new", "-c", "4", "-Q", "default")
    fresh = one_each(submit, "sleep", 0)
    stack.wait_for(fresh, JobStatus.COMPLETED, 30)
    flag.touch()
    job = same(stack.wait_for(running, JobStatus.COMPLETED, 30))
    assert old.wait_for_exit(40) == 0
    assert (job.attempt, set(stack.bodies().values())) == (1, {1})


def test_a_task_that_does_not_claim_is_run_once_and_its_job_says_why(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "1", "-Q", "default")
    job_id = submit("both.never")
    job = stack.wait_for([job_id], JobStatus.FAILED, 30)[job_id]
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CONFIGURATION
    assert "did not claim" in job.failure.message


def test_a_body_that_records_nothing_is_told_what_to_do(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "4", "-Q", "default")
    forgotten, elsewhere = submit("both.forgets"), submit("both.detached")
    job = stack.wait_for([forgotten], JobStatus.FAILED, 30)[forgotten]
    assert job.failure is not None
    assert job.failure.kind is FailureKind.CONFIGURATION
    assert "detached=True" in job.failure.message
    kept = stack.wait_for([elsewhere], JobStatus.PROCESSING, 30)[elsewhere]
    assert (kept.worker_id, bool(kept.celery_task_id)) == ("", True)
    done = stack.repo.update_status(elsewhere, "COMPLETED", result="there", token=kept.claim_token)
    assert done.result == "there"


def test_several_claims_of_one_body_are_each_looked_after(stack: Stack, submit: Callable[..., str]) -> None:
    stack.worker("worker", "-c", "2", "-Q", "default")
    app = create_app(stack.settings)
    ids = [app.jobclaim.repo.create_job("both.short", None).job_id for _ in range(3)]
    app.send_task("both.several", args=[ids, "/nowhere"], queue="default")
    stack.wait_for_bodies(ids)
    os.kill(process_of(stack, ids[1]) or 0, signal.SIGKILL)
    assert stack.wait_for(ids[:1], JobStatus.COMPLETED, 30)[ids[0]].result == "first"
    lost = stack.wait_for(ids[1:], JobStatus.FAILED, 30)
    assert {job.failure.kind for job in lost.values() if job.failure} == {FailureKind.ORPHANED}
