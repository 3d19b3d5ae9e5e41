"""Jobs that the pool writes into a child's pipe while the child still records the outcome of the one before."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import time
from array import array
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from billiard import current_process
from celery import current_task, shared_task
from celery.concurrency.asynpool import AsynPool

from jobclaim.workers import JobTask
from jobclaim.workers.pools import next_job
from jobclaim.workers.process.request import JobRequest
from jobclaim.workers.transport.channel import Channel
from tests.support.waiting import wait_until

LONGEST_SECONDS = 60.0
LIMIT_SECONDS = 3
HEADER_BYTES = 4
backend: Any = import_module("jobclaim.workers.results.backend")
poller: Any = import_module("jobclaim.workers.transport.poller")
poller.ahead_of = lambda *_: 1  # as a worker of short jobs does: a message waits for the only child
request_class: Any = JobRequest
channel_class: Any = Channel
record, cleared_up = backend.record_success, AsynPool.process_flush_queues
answered, retired = JobRequest.on_success, Channel.retire


def folder() -> Path:
    """Return where the processes leave files for each other."""
    return Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).parent


def tell(what: str, text: str = "") -> None:
    """Leave a file for the other processes."""
    (folder() / f"{what}.tmp").write_text(text)
    (folder() / f"{what}.tmp").rename(folder() / what)


def wait_for(what: str) -> str:
    """Wait for a file of another process, and return its text."""
    wait_until((folder() / what).exists, LONGEST_SECONDS, what)
    return (folder() / what).read_text()


# --- in the children
def has_next() -> bool:
    """Ask, in case that the next message has come just now, and return whether the pipe has a job."""
    next_job.ask(current_task, current_task.request)
    waiting = array("i", [0])
    fcntl.ioctl(current_process().inq._reader.fileno(), termios.FIONREAD, waiting)
    return waiting[0] > HEADER_BYTES


def record_when_next_is_here(repo: Any, job_id: str, *others: Any) -> Any:
    """Record an outcome when the next job is in the pipe, and do what the task asks for before."""
    before = getattr(current_task, "before_record", None)
    if before is not None:
        wait_until(has_next, LONGEST_SECONDS, "the next job is in the pipe")
        before()
    return record(repo, job_id, *others)


backend.record_success = record_when_next_is_here


def die() -> None:
    """End this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_clearing_up() -> None:
    """Let the main process clear up behind the other child."""
    tell("second", str(os.getpid()))
    wait_for("clearing-up")


def stop_the_worker() -> None:
    """Wait until the worker that stops has returned the messages that it has not started."""
    os.kill(os.getppid(), signal.SIGTERM)
    wait_for("retired")


def freeze_the_worker() -> None:
    """Keep the main process from reading answers."""
    os.kill(os.getppid(), signal.SIGSTOP)


def leave_evidence(task: Any) -> None:
    """Note a body."""
    with Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).open("a") as evidence:
        evidence.write(f"{task.request.job.job_id} {task.request.job.attempt} {os.getpid()}\n")


def returns(self: Any) -> None:
    """Return."""
    leave_evidence(self)


def early(name: str, before_record: Any = None, **options: Any) -> Any:
    """Make a decorator for a task that does something before its outcome is recorded."""
    options |= {"before_record": staticmethod(before_record)} if before_record else {}
    return shared_task(base=JobTask, bind=True, name=name, **options)


early("early.dies", die)(returns)
early("early.stops", stop_the_worker)(returns)
early("early.limited", freeze_the_worker, time_limit=LIMIT_SECONDS)(returns)
early("early.limited_softly", freeze_the_worker, soft_time_limit=LIMIT_SECONDS)(returns)
early("early.follows")(returns)


@early("early.meets", wait_for_clearing_up)
def meets(self: Any) -> None:
    """End the process of the first child when the second one has its next job."""
    leave_evidence(self)
    if not current_process().index:
        wait_for("second")
        os._exit(0)


@early("early.exits")
def exits(self: Any) -> None:
    """End the process."""
    leave_evidence(self)
    os._exit(0)


@early("early.outlives")
def outlives(self: Any) -> None:
    """Run on while the limit of the job before passes unseen by the frozen main process, and until it has seen more."""
    leave_evidence(self)
    over = time.monotonic() + LIMIT_SECONDS
    wait_until(lambda: time.monotonic() > over, LONGEST_SECONDS, "the limit has passed")
    os.kill(os.getppid(), signal.SIGCONT)
    wait_for("answered")


# --- in the main process
def clear_up(pool: Any, child: Any) -> None:
    """Let the second child end behind the first, which the pool has found ended."""
    if not child.index and (folder() / "second").exists() and not (folder() / "clearing-up").exists():
        tell("clearing-up")
        pid = int(wait_for("second"))
        ended = partial(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        wait_until(ended, LONGEST_SECONDS, "the second child has ended")
    cleared_up(pool, child)


def answer(request: Any, *what: Any, **options: Any) -> Any:
    """Tell that the main process has read the answer for a job."""
    tell("answered")
    return answered(request, *what, **options)


def retire(channel: Any) -> int:
    """Tell that the worker has returned the messages that it has not started."""
    count = retired(channel)
    tell("retired")
    return count


AsynPool.process_flush_queues, request_class.on_success, channel_class.retire = clear_up, answer, retire
