"""Stop a worker: release jobs that do not end in the time left, then end children and threads."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery.worker import state

from jobclaim.jobs.log import get_logger
from jobclaim.specs import stop_deadline, systemd
from jobclaim.workers.attempt import coroutines
from jobclaim.workers.pools.stop import ThreadStop
from jobclaim.workers.pools.threads import TaskPool
from jobclaim.workers.process import unreported
from jobclaim.workers.process.cancels import CANCELLED, GENTLE_SECONDS, Cancels
from jobclaim.workers.process.children import Children
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.process.request import OwnedRequest
from jobclaim.workers.process.unreported import HeldAttempt

if TYPE_CHECKING:
    from celery import Celery

log = get_logger("jobclaim.worker")

IDLE_SECONDS: Final = 2.0
"""Seconds for idle children to end by themselves at a stop: they may have counts and traces to write."""
OVERDUE_SECONDS: Final = 5.0
"""Seconds after the time of a stop at which the process ends, whatever it still waits for: a service that does not
answer would hold it for minutes. Until then it records, deregisters and writes its counts."""


class Shutdown:
    """The stop of one worker, as its main process carries it out.

    Attributes
    ----------
    left_over : bool
        Whether something could not be recorded: recovery will find it by the worker's record.
    """

    def __init__(self, app: Celery, pool: Any, children: Children, recorder: Recorder, cancels: Cancels) -> None:
        settings = app.jobclaim.settings
        self._app = app
        self._children = children
        self._recorder = recorder
        self._cancels = cancels
        self._usual_seconds = settings.drain_seconds
        self._deadline_file = stop_deadline.path_of(settings.run_folder, settings.worker_name)
        self._deadline_file.unlink(missing_ok=True)  # of an earlier stop
        self.last_seconds = settings.stop_timeout_seconds - settings.drain_seconds
        self.threads = ThreadStop(pool, self.last_seconds / 2) if isinstance(pool, TaskPool) else None
        self.left_over = False
        self._release_at: float | None = None
        self._idle_since = 0.0
        self._asked_to_end = False

    def supervise(self, active: Collection[OwnedRequest], now: float) -> None:
        """Release jobs, and end children, if it is time."""
        is_cold = _is_asked(state.should_terminate)
        if not is_cold and not _is_asked(state.should_stop):
            return
        if self._release_at is None:
            # turns systemd's watchdog off: the event loop, which notifies it, has ended
            systemd.notify(systemd.STOPPING)
            seconds = 0.0 if is_cold else self._seconds_for_jobs()
            self._release_at, self._idle_since = now + seconds, now
            end = threading.Timer(seconds + self.last_seconds + OVERDUE_SECONDS, self._end_overdue)
            end.daemon = True
            end.start()
            log.info("worker.stopping", running=len(active), seconds_left=round(seconds, 1))
        if is_cold:
            self._release_at = min(self._release_at, now)
        if self._release_at <= now:
            if self.threads is not None:
                self.threads.plan()
            for request in active:
                self.release(request)
        self._end_children(active, now)

    def _seconds_for_jobs(self) -> float:
        deadline = stop_deadline.read(self._deadline_file)
        return stop_deadline.drain_seconds(deadline, time.time(), usual=self._usual_seconds, reserved=self.last_seconds)

    def seconds_for_outcomes(self, now: float) -> float:
        """Return how long to go on recording what children have handed over: as long as bodies were waited for."""
        left = 0.0 if self._release_at is None else self._release_at - now
        return float(max(1.0, left + self.last_seconds / 2))

    def release(self, request: OwnedRequest) -> None:
        """Release or fail attempts that do not end in time, then kill their child."""
        if not request.is_handled and request.job_ids():
            request.is_handled = True
            release = self._release_of_child if self.threads is None else self._release_of_thread
            if not self._recorder.submit(partial(release, request)):
                request.is_handled = False  # the queue may have space at the next check

    def _release_of_thread(self, request: OwnedRequest) -> None:
        """Release a thread's claims, then cancel its body if that awaits; the thread itself runs until the process
        ends.
        """
        ends: list[bool | None] = [None]
        try:
            ends = [self._end_unfinished(request, attempt) for attempt in request.attempts()]
            coroutines.interrupt(request.token)
        finally:
            self.left_over |= None in ends
            request.is_handled = False not in ends  # ``False``: the body ended by itself and is about to report that

    def _release_of_child(self, request: OwnedRequest) -> None:
        pid = request.worker_pid
        self._children.freeze(pid)
        ends: list[bool | None] = [None]
        try:
            ends = [self._end_unfinished(request, attempt) for attempt in request.attempts()]
            if False in ends:  # an attempt had ended, and its child may still have something to report
                self._children.thaw(pid)
                time.sleep(GENTLE_SECONDS)
        finally:  # also after an error: the pool waits for a frozen child
            self.left_over |= None in ends
            self._children.kill(pid)

    def _end_unfinished(self, request: OwnedRequest, attempt: HeldAttempt) -> bool | None:
        """Release or fail an attempt, or cancel it if requested; ``None`` if DynamoDB was unavailable for too long."""
        until, cancelled = time.monotonic() + self.last_seconds / 2, self._cancels.is_cancelled(request, attempt)
        after = None
        if self.threads is not None:
            until, after = self.threads.plan(), self.threads.available_at(self._app.jobclaim.repo.clock())

        def act() -> bool:
            if cancelled:
                return unreported.cancelled(self._app, attempt, CANCELLED)
            return unreported.unfinished(self._app, attempt, available_at=after)

        ended: bool | None = unreported.persist(act, until=until)
        return ended

    def _end_children(self, active: Collection[OwnedRequest], now: float) -> None:
        """End idle children at once, and all children at the deadline.

        A child that has ended its last job waits up to 30 s until the pool has read all its output. The event loop no
        longer reads, so that may never happen; and the pool waits for the child.
        """
        assert self._release_at is not None
        left = self._children.left()
        if active or self._children.are_starting() or not left:
            self._idle_since = now
        idle = now - self._idle_since
        if left and (now >= self._release_at + self.last_seconds or idle >= IDLE_SECONDS + GENTLE_SECONDS):
            log.warning("worker.children_killed", count=len(left), running=len(active))
            self._children.end_now(left, gently=False)
        elif idle >= IDLE_SECONDS and not self._asked_to_end:
            self._asked_to_end = True
            self._children.end_now(left, gently=True)

    def _end_overdue(self) -> None:
        """End this process and its children; recovery finds what could not be recorded by the worker's record."""
        left = self._children.living()
        log.error("worker.stop_overdue", count=len(left))
        self._children.end_now(left, gently=False)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1)


def _is_asked(exit_code: Any) -> bool:
    """Return whether a stop was requested, by Celery's state: an exit code, which may be 0."""
    return exit_code is not None and exit_code is not False
