"""Bodies whose processes end together: the second one while the pool clears up behind the first one."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from billiard import current_process
from billiard.pool import ApplyResult
from celery import shared_task
from celery.concurrency.asynpool import AsynPool

from jobclaim.jobs import JobRepo
from jobclaim.workers import JobTask
from tests.support.waiting import wait_until

repo = JobRepo()
LONGEST_SECONDS = 60.0
cleared_up, accepted = AsynPool.process_flush_queues, ApplyResult._ack
unread: list[Any] = []


def accept(job: Any, *answer: Any) -> None:
    """Take the answer of the child that ends second for one that the pool has not read yet."""
    if job._write_to.index and not (folder() / "cleared-up").exists():
        unread.append(partial(accepted, job, *answer))
    else:
        accepted(job, *answer)


def clear_up(pool: Any, child: Any) -> None:
    """Let the second child end behind the first, which the pool has found ended; read what is unread of the second."""
    if child.index:
        while unread and not child.outq._reader.closed:
            unread.pop()()
    elif not (folder() / "cleared-up").exists():
        second = int((folder() / "second").read_text())
        (folder() / "cleared-up").touch()
        ended = partial(os.waitid, os.P_PID, second, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        wait_until(ended, LONGEST_SECONDS, "the second child has ended")
    cleared_up(pool, child)


AsynPool.process_flush_queues, ApplyResult._ack = clear_up, accept


def folder() -> Path:
    """Return where the processes leave files for each other."""
    return Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).parent


def die(job_id: str) -> None:
    """Leave evidence, and end the process: the pool looks at its last child first, so that is the one to end second."""
    with Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).open("a") as evidence:
        evidence.write(f"{job_id} 1 {os.getpid()}\n")
    if current_process().index:
        (folder() / "second.tmp").write_text(str(os.getpid()))
        (folder() / "second.tmp").rename(folder() / "second")
        wait_until((folder() / "cleared-up").exists, LONGEST_SECONDS, "the pool clears up")
    else:
        wait_until((folder() / "second").exists, LONGEST_SECONDS, "the second body runs")
    os._exit(0)


@shared_task(base=JobTask, bind=True, name="dying.job")
def by_job_task(self: Any) -> None:
    """The worker claims before the body."""
    die(self.request.job.job_id)


@shared_task(name="dying.block")
def by_block(job_id: str) -> None:
    """The block claims, and ends the job."""
    with repo.claimed(job_id) as job:
        if job is not None:
            die(job_id)
