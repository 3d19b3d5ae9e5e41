"""An answer that is not read when something happens: imported by a worker, whose loop stands still until it is given.

``TESTS_MOMENT`` names what then happens to the main process: a signal, an error of its connection, or that it stands
still beyond the job's hard limit. ``killed`` kills the child when it has answered; ``mute`` only makes children unable
to record a success, and ``waits`` leaves everything as it is.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from billiard.pool import READY, Worker
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_init
from celery.worker import state
from kombu.asynchronous import get_event_loop

from jobclaim.jobs import JobRepo
from jobclaim.workers import JobTask
from jobclaim.workers.attempt import handing, outcome
from jobclaim.workers.process import outcomes
from jobclaim.workers.process.request import JobRequest
from tests.support.waiting import wait_until

MOMENT = os.environ.get("TESTS_MOMENT", "")
LONGEST_SECONDS = 60.0
SOFT_SECONDS, HARD_SECONDS = 3, 6
usual_loop, usual_accepted = Worker.workloop, JobRequest.on_accepted


def folder() -> Path:
    """Return where the processes leave files for each other."""
    return Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).parent


def loop(worker: Any, *args: Any, **options: Any) -> Any:
    """Do the child's work, and say that it has answered."""
    put = worker.outq.put

    def put_and_say(answer: Any) -> None:
        put(answer)
        if answer[0] == READY:
            (folder() / "answered").touch()
            if MOMENT == "killed":
                os.kill(os.getpid(), signal.SIGKILL)

    worker.outq.put = put_and_say
    return usual_loop(worker, *args, **options)


def accepted(request: Any, *args: Any) -> None:
    """Stop the loop when a job has begun for the first time; for the hard limit, when the soft one is over."""
    usual_accepted(request, *args)
    if not (folder() / "go").exists():
        get_event_loop().call_later(SOFT_SECONDS + 0.5 if MOMENT == "hard limit" else 0, stand_still)


def stand_still() -> None:
    """Wait until the child has answered, and end the loop before it reads the answer."""
    (folder() / "go").touch()
    wait_until((folder() / "answered").exists, LONGEST_SECONDS, "the child answers")
    if MOMENT.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[MOMENT])
        state.maybe_shutdown()
    elif MOMENT == "hard limit":
        time.sleep(HARD_SECONDS)
    elif MOMENT == "lost connection":
        raise ConnectionResetError("as the test says")


if MOMENT:  # children hand over, however fast DynamoDB answers and however slow the machine is
    vars(outcomes).update(OPEN_SECONDS=LONGEST_SECONDS, MOST_PER_PROCESS=1_000)
    vars(handing).update(LEAST_SECONDS=0.0)
if MOMENT not in ("", "mute", "waits"):
    Worker.workloop = loop
    JobRequest.on_accepted = accepted  # type: ignore[method-assign, assignment]


def refuse(*_: Any, **__: Any) -> Any:
    """Record nothing."""
    raise AssertionError("this child cannot record a success")


@worker_process_init.connect
def make_mute(**_: Any) -> None:
    """Make this child unable to record a success."""
    if MOMENT == "mute":
        vars(outcome)["record_planned"] = refuse
        JobRepo.update_status = refuse  # type: ignore[method-assign]


def work(task: Any, *, waits: bool) -> str:
    """Leave evidence, and return when the loop stands still."""
    job = task.request.job
    with Path(os.environ["JOBCLAIM_TEST_EVIDENCE"]).open("a") as evidence:
        evidence.write(f"{job.job_id} {job.attempt} {os.getpid()}\n")
    while waits and not (folder() / "go").exists():
        time.sleep(0.01)
    return "done"


@shared_task(base=JobTask, bind=True, name="tests.handed", on_orphan="retry")
def handed(self: Any, waits: bool = True) -> str:
    """Work without a limit that matters."""
    return work(self, waits=waits)


@shared_task(
    base=JobTask,
    bind=True,
    name="tests.handed_limited",
    soft_time_limit=SOFT_SECONDS,
    time_limit=HARD_SECONDS,
)
def handed_limited(self: Any) -> str:
    """Work on after the soft limit, and return before the hard one."""
    with suppress(SoftTimeLimitExceeded):
        time.sleep(LONGEST_SECONDS)
    return work(self, waits=True)
