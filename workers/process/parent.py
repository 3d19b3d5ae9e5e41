"""The work of a worker's main process besides the event loop: heartbeat, cancels, lost children, the stop.

::

    event loop ── started, lost, retried ──▶ Parent ──▶ recorder's threads ──▶ DynamoDB, SQS
    heartbeat ─── commands ────────────────▶   │
    supervisor, five times a second ──────▶    └──────▶ children: freeze, end
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.worker import state

from jobclaim.fleet.registered import Announcement, RegisteredTasks, own
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.jobs.storage.pauses import KnownPauses
from jobclaim.workers.messages.message import TOKEN
from jobclaim.workers.process import active, unreported
from jobclaim.workers.process.cancels import SETTLE_SECONDS, Cancels
from jobclaim.workers.process.children import (
    Children,
    call_before_stop,
    keep_unconfirmed,
    read_answers_first,
    read_outcomes_before_limits,
)
from jobclaim.workers.process.heartbeat import BeatPace, Heartbeat
from jobclaim.workers.process.loop_requests import LAST_SECONDS
from jobclaim.workers.process.outcomes import Outcomes
from jobclaim.workers.process.pauses import PauseWatch
from jobclaim.workers.process.pipes import write_at_once
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.process.request import JobRequest, OwnedRequest
from jobclaim.workers.process.shutdown import Shutdown
from jobclaim.workers.state import worker

if TYPE_CHECKING:
    from celery import Celery

log = get_logger("jobclaim.worker")

TICK_SECONDS: Final = 0.2


class Parent:
    """The threads and records of a worker's main process; one object per worker.

    Parameters
    ----------
    pool : celery.concurrency.base.BasePool
    hub : kombu.asynchronous.Hub or None
        The event loop.
    about : WorkerRecord
        The worker's record in the fleet table.
    """

    def __init__(self, app: Celery, pool: Any, hub: Any, about: WorkerRecord) -> None:
        settings = app.jobclaim.settings
        self._app = app
        read_answers_first(pool)
        read_outcomes_before_limits(pool)
        self._children = Children(pool)
        self._pool, self._hub = pool, hub
        self._recorder = Recorder()
        self._records = FleetRecords.of(app.jobclaim.repo)
        pace = BeatPace(settings.heartbeat_seconds, settings.claims_stop_after_seconds)
        self._heartbeat = Heartbeat(
            self._records,
            about,
            self.running,
            self._carry_out,
            pace=pace,
            clock=app.jobclaim.repo.clock,
            vouched=self.vouched,
            learn=PauseWatch(KnownPauses.of(app.jobclaim.repo)).learn,
        )
        self._announcement = Announcement(RegisteredTasks.of(app.jobclaim.repo), own(app.tasks))
        self._cancels = Cancels(app, self._children, self._recorder, self._records)
        self._outcomes = Outcomes(app.jobclaim, hub, Recorder(), about.concurrency)
        keep_unconfirmed(pool, then=self._outcomes.leave_loop)
        call_before_stop(pool, self._outcomes.end)
        write_at_once(pool)
        self._shutdown = Shutdown(app, pool, self._children, self._recorder, self._cancels)
        self._seen: frozenset[str] = frozenset()
        self._overdue: set[OwnedRequest] = set()
        self._stopped = threading.Event()
        self._supervisor = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin, once the pool has forked."""
        signals.worker_shutting_down.connect(self._stopping)
        self._heartbeat.start()
        self._supervisor.start()

    def running(self) -> list[str]:
        """Return the ids of the jobs that children work on now, or whose outcomes this process is to record."""
        started = (request.job_ids() for request in active.requests() if request.key == TOKEN)
        claimed = {claim.job_id for claim in worker.current().claims()}
        return sorted(claimed.union(self._outcomes.job_ids(), *started))

    def vouched(self) -> list[str] | None:
        """Return the tokens of claims that threads hold; ``None`` in a worker that ends its attempts at their hard
        limit.
        """
        if self._shutdown.threads is None:
            return None
        started = {request.token for request in active.requests() if request.key == TOKEN}
        return sorted({claim.token for claim in worker.current().claims()} | started)

    # --- calls from the event loop
    def started(self) -> None:
        """Handle a job that has started."""
        self._heartbeat.report_start()
        self._outcomes.open()

    def completed(self, planned: PlannedCompletion) -> None:
        """Record the outcome that a child has handed over."""
        self._outcomes.record(planned)

    def lost(self, request: OwnedRequest, error: BaseException) -> None:
        """Handle an attempt whose child is lost, or is being killed for its time limit."""
        for attempt in request.attempts():
            cancelled = self._cancels.is_cancelled(request, attempt)
            self._record(partial(self._cancels.record_lost, attempt, error, cancelled=cancelled))

    def unanswered(self, request: JobRequest) -> None:
        """Release a job whose claim had no answer, as soon as DynamoDB answers."""
        attempt = request.attempts()[0]

        def record() -> None:
            unreported.persist(
                lambda: unreported.unanswered(self._app, attempt), until=time.monotonic() + SETTLE_SECONDS
            )

        self._record(record)

    def retried(self, request: OwnedRequest) -> None:
        """Handle an attempt that ended and is to be followed by another one."""
        self._cancels.retried(request)

    def cancel(self, request: OwnedRequest) -> None:
        """End the attempts as cancelled when their grace period is over."""
        self._cancels.begin(request)

    def release(self, request: OwnedRequest) -> None:
        """Release or fail attempts that do not end in time, then kill their child."""
        self._shutdown.release(request)

    def _record(self, record: Callable[[], None]) -> None:
        if not self._recorder.submit(record):
            self._shutdown.left_over = True

    # --- commands from the fleet
    def _carry_out(self, record: WorkerRecord) -> Sequence[str]:
        """Carry out the commands; return the job ids of those that are done and may be removed."""
        self._announcement.write_if_due(self._app.jobclaim.repo.clock())
        if record.drain and not state.should_stop:
            log.warning("worker.drain_requested")
            os.kill(os.getpid(), signal.SIGTERM)
        return self._cancels.carry_out(record.commands)

    # --- the stop
    def _stopping(self, **_: Any) -> None:
        """Handle that a stop was requested, in the handler of its signal."""
        self._outcomes.close()

    def flush(self) -> None:
        """Wait for a moment until the outcomes that children have handed over are recorded."""
        self._outcomes.flush(LAST_SECONDS)

    def close(self) -> None:
        """Finish recording and deregister; called when the pool is empty or its threads are abandoned."""
        self._stopped.set()
        try:
            self._deregister()
        finally:
            if self._shutdown.threads is not None:
                self._shutdown.threads.leave()

    def _deregister(self) -> None:
        recorded = self._outcomes.flush(self._shutdown.seconds_for_outcomes(time.monotonic()))
        flushed = self._recorder.flush(max(1.0, self._shutdown.last_seconds / 2)) and recorded
        self._heartbeat.stop(timeout=2.0)
        if self._shutdown.left_over or not flushed:
            log.warning("worker.stopped_with_open_jobs")
            return
        try:
            last = self._records.remove(worker.current().worker_id)
        except JobError as error:
            log.warning("worker.deregister_failed", reason=str(error))
            return
        for job_id in last.commands if last else ():
            self._cancels.cancel_wherever(job_id)

    # --- the supervisor
    def _watch(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            try:
                self._tick(time.monotonic())
            except Exception:
                log.exception("supervisor.failed")

    def _tick(self, now: float) -> None:
        running = set(active.requests())
        self._notice_new_claims()
        self._notice_ended_children(running)
        self._cancels.stop_what_is_due(running, now)
        self._shutdown.supervise(running, now)
        if self._shutdown.threads is not None:
            self._note_overdue(running)
            self._shutdown.threads.supervise(running, lambda: self._recorder.flush(0))

    def _notice_ended_children(self, running: set[OwnedRequest]) -> None:
        """Let the pool notice ended children at once: Celery checks when a child's pipe closes, a moment too early,
        then every 5 s.
        """
        if self._hub is not None and self._children.have_ended(request.worker_pid for request in running):
            self._hub.call_soon(self._pool.maintain_pool)

    def _notice_new_claims(self) -> None:
        """Report new claims to the fleet within about a second: a body may claim long after its message came."""
        now = frozenset(claim.token for claim in worker.current().claims())
        if now - self._seen:
            self._heartbeat.report_start()
        self._seen = now

    def _note_overdue(self, running: set[OwnedRequest]) -> None:
        """Log once that a thread runs longer than its hard limit, which cannot be enforced there."""
        self._overdue &= running
        for request in running - self._overdue:
            if request.is_overdue(time.time()):
                self._overdue.add(request)
                log.warning("job.hard_limit_exceeded", job_id=active.shown(request), task=request.name)
