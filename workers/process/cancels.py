"""Cancel running jobs: notify their tasks, and stop them when their grace period is over.

::

    command ──▶ its task sees it ──grace──▶ child frozen ──▶ CANCELLED written ──▶ child ended
       └── not running here: cancelled where it waits or runs now
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from celery.exceptions import WorkerLostError

from jobclaim.fleet.workers import CANCEL, FleetRecords
from jobclaim.jobs import JobError, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.workers.attempt import coroutines
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.process import active, unreported
from jobclaim.workers.process.children import Children
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.process.request import OwnedRequest
from jobclaim.workers.process.unreported import HeldAttempt
from jobclaim.workers.state import worker

if TYPE_CHECKING:
    from celery import Celery

log = get_logger("jobclaim.worker")

SETTLE_SECONDS: Final = 600.0
"""How long recording an outcome is retried through an outage; a lease is longer."""
LOOK_AGAIN_SECONDS: Final = 0.05
"""Time for the event loop to receive the answer of a child that had just ended its job when it was frozen."""
GENTLE_SECONDS: Final = 1.0
"""Seconds between SIGTERM and SIGKILL of a child whose job is cancelled."""
CANCELLED: Final = "cancelled by a person while it ran"
BESIDE: Final = "its process was ended, because another job held by the same task was cancelled"


class Cancels:
    """The cancels of one worker, in its main process."""

    def __init__(self, app: Celery, children: Children, recorder: Recorder, records: FleetRecords) -> None:
        self._app = app
        self._children = children
        self._recorder = recorder
        self._records = records
        self._grace = app.jobclaim.settings.cancel_grace_seconds
        self._due: dict[OwnedRequest, float] = {}
        self._requested: dict[OwnedRequest, dict[str, str]] = {}  # by job id, the marked token of its claim
        self._following: set[str] = set()
        self._over: set[str] = set()

    def begin(self, request: OwnedRequest, job_id: str | None = None) -> None:
        """Notify the task, and stop it after its grace period: all claims of its body, unless one job is named."""
        tokens = self._requested.setdefault(request, {})
        marked = False
        for attempt in request.attempts():
            if job_id in (None, attempt.job_id) and attempt.job_id not in tokens:
                tokens[attempt.job_id] = attempt.token
                marked |= worker.current().mark_cancelled(attempt.token)
                log.warning("cancel.started", job_id=attempt.job_id, task=request.name, grace_seconds=self._grace)
        if request not in self._due:
            self._due[request] = time.monotonic() + (self._grace if marked else 0)

    def is_cancelled(self, request: OwnedRequest, attempt: HeldAttempt) -> bool:
        """Return whether an attempt is to end."""
        return worker.current().is_cancelled(attempt.token) or attempt.job_id in self._requested.get(request, {})

    def carry_out(self, commands: Mapping[str, str]) -> Sequence[str]:
        """Carry out the commands; return the job ids of those that are done and may be removed."""
        runs = {job_id: request for request in active.requests() for job_id in request.job_ids()}
        done = [job_id for job_id in commands if job_id in self._over]
        self._over.clear()
        for job_id in set(commands).difference(done, self._following):
            if commands[job_id] == CANCEL and job_id in runs:
                self.begin(runs[job_id], job_id)
            else:
                self._following.add(job_id)
                if not self._recorder.submit(partial(self._follow, job_id)):
                    self._following.discard(job_id)
        return done

    def retried(self, request: OwnedRequest) -> None:
        """Handle an attempt that ended and is to be followed by another one."""
        for job_id in self._requested.get(request, ()):
            self._recorder.submit(partial(self._follow, job_id))

    def stop_what_is_due(self, running: Collection[OwnedRequest], now: float) -> None:
        """Stop the attempts whose grace period is over, and remove those that have ended."""
        for request, deadline in list(self._due.items()):
            if request not in running:
                self._forget(request)
            elif deadline <= now and not request.is_handled:
                self._due[request] = now + SETTLE_SECONDS
                self._recorder.submit(partial(self._stop, request))

    def end(self, attempt: HeldAttempt, until: float) -> bool | None:
        """Record that an attempt was cancelled; ``None`` if DynamoDB was unavailable for too long."""
        ended: bool | None = unreported.persist(
            lambda: unreported.cancelled(self._app, attempt, CANCELLED), until=until
        )
        return ended

    def record_lost(self, attempt: HeldAttempt, error: BaseException, *, cancelled: bool) -> None:
        """Record the outcome of an attempt whose child is lost."""
        until = time.monotonic() + SETTLE_SECONDS
        if not cancelled or self.end(attempt, until) is False:  # ``None``: recovery records the outcome
            unreported.persist(lambda: unreported.lost(self._app, attempt, error), until=until)

    def _follow(self, job_id: str) -> None:
        """Cancel a job that does not run here. Its command stays until the job has ended: the cancel may only have
        repeated it.
        """
        try:
            if self.cancel_wherever(job_id):
                self._over.add(job_id)
        finally:
            self._following.discard(job_id)

    def cancel_wherever(self, job_id: str) -> bool:
        """Cancel a job that meanwhile waits again or runs elsewhere, because the answer was "requested".

        Return whether the job has ended; call this again while it is only requested or DynamoDB does not answer.
        """
        try:
            return cancel(self._app.jobclaim.repo, job_id, records=self._records) is Answer.CANCELLED
        except StoreUnavailable as error:
            log.warning("cancel.delayed", job_id=job_id, reason=str(error))
            return False
        except JobError as error:
            log.info("cancel.too_late", job_id=job_id, reason=str(error))
            return True

    def _stop(self, request: OwnedRequest) -> None:
        pid = request.worker_pid
        if coroutines.interrupt(request.token):
            return
        if not self._children.freeze(pid):
            log.warning("cancel.cooperative", job_id=active.shown(request))
            return
        time.sleep(LOOK_AGAIN_SECONDS)
        request.is_handled = request in active.requests()
        attempts = request.attempts()
        cancelled = [attempt for attempt in attempts if self.is_cancelled(request, attempt)]
        ended = False
        try:
            ends = [self.end(attempt, time.monotonic() + SETTLE_SECONDS) for attempt in cancelled if request.is_handled]
            ended = any(ends)
        finally:  # also after an error: only this thaws the child
            if not ended:
                request.is_handled = False
                self._children.thaw(pid)
        if ended:
            self._children.ask_to_end(pid)
            time.sleep(GENTLE_SECONDS)
            if request in active.requests():
                self._children.kill(pid)
            for attempt in attempts:
                if attempt not in cancelled:
                    self.record_lost(attempt, WorkerLostError(BESIDE), cancelled=False)

    def _forget(self, request: OwnedRequest) -> None:
        self._due.pop(request, None)
        for token in self._requested.pop(request, {}).values():
            worker.current().unmark(token)
