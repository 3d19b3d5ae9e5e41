"""A child that confirms its job late: imported by a worker, it confirms no job before a stop waits for the children."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from billiard.pool import ACK, Worker
from celery import shared_task
from celery.concurrency.asynpool import AsynPool

from jobclaim.jobs import JobRepo
from jobclaim.workers import JobTask
from tests.support.waiting import wait_until

repo = JobRepo()
LONGEST_SECONDS = 60.0
usual_loop, usual_join = Worker.workloop, AsynPool.join


def loop(worker: Any, *args: Any, **options: Any) -> Any:
    """Do the child's work, and say late that a job has come."""
    put = worker.outq.put

    def put_late(answer: Any) -> None:
        if answer[0] == ACK:
            (folder() / "given").touch()
            wait_until((folder() / "stops").exists, LONGEST_SECONDS, "the worker waits for its children")
        put(answer)

    worker.outq.put = put_late
    return usual_loop(worker, *args, **options)


def join(pool: Any) -> None:
    """Wait for the children: what waits has been dropped, and running jobs were released if the stop is a cold one."""
    (folder() / "stops").touch()
    usual_join(pool)


Worker.workloop, AsynPool.join = loop, join


def folder() -> Path:
    """Return where the processes leave files for each other."""
    return Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).parent


def work(job_id: str, attempt: int, seconds: float) -> str:
    """Leave evidence, and work."""
    with Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).open("a") as evidence:
        evidence.write(f"{job_id} {attempt} {os.getpid()}\n")
    time.sleep(seconds)
    return "done"


@shared_task(base=JobTask, bind=True, name="late.job")
def by_job_task(self: Any, seconds: float) -> str:
    """The worker claims before the body."""
    job = self.request.job
    return work(job.job_id, job.attempt, seconds)


@shared_task(name="late.block")
def by_block(job_id: str) -> None:
    """The block claims, and ends the job."""
    with repo.claimed(job_id) as job:
        if job is not None:
            job.set_result(work(job_id, job.job.attempt, job.payload["args"][0]))
