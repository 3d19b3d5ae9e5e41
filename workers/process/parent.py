"""What a worker's main process does for its jobs beside the event loop: heartbeat, cancels, lost children, the stop.

::

    event loop ── started, lost, retried ──▶ Parent ──▶ recorder's threads ──▶ DynamoDB, SQS
    heartbeat ─── commands ────────────────▶   │
    warden, five times a second ──────────▶    └──────▶ children: freeze, end
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import WorkerLostError
from celery.worker import state

from jobclaim.fleet.registered import Announcement, RegisteredTasks, own
from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import JobError, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.workers.attempt import coroutines
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.pools.stop import ThreadStop
from jobclaim.workers.pools.threads import TaskPool
from jobclaim.workers.process import settle, worker
from jobclaim.workers.process.children import Children
from jobclaim.workers.process.heartbeat import Heartbeat, Pace
from jobclaim.workers.process.recorder import Recorder
from jobclaim.workers.process.request import JobRequest, OwnedRequest
from jobclaim.workers.process.settle import Attempt
from jobclaim.workers.submission.message import TOKEN

if TYPE_CHECKING:
    from celery import Celery

log = get_logger("jobclaim.worker")

TICK_SECONDS: Final = 0.2
SETTLE_SECONDS: Final = 600.0
"""How long an end is tried to be written through an outage; a lease is longer."""
LOOK_AGAIN_SECONDS: Final = 0.05
"""Time for the event loop to hear from a child that had just ended its job when it was frozen."""
GENTLE_SECONDS: Final = 1.0
"""Between SIGTERM and SIGKILL of a child whose job is cancelled."""
IDLE_SECONDS: Final = 2.0
"""At a stop, for children that work on nothing to end by themselves: they may have counts and traces to write."""
CANCELLED: Final = "cancelled by a person while it ran"
BESIDE: Final = "its process was ended: another job that the same task held was cancelled"


class Parent:
    """One per worker, in its main process.

    Parameters
    ----------
    pool : celery.concurrency.base.BasePool
    hub : kombu.asynchronous.Hub or None
        The event loop.
    about : WorkerRecord
        What the fleet is told of this worker.
    """

    def __init__(self, app: Celery, pool: Any, hub: Any, about: WorkerRecord) -> None:
        settings = app.jobclaim.settings
        self._app = app
        self._children = Children(pool)
        self._pool, self._hub = pool, hub
        self._recorder = Recorder()
        self._records = FleetRecords.of(app.jobclaim.repo)
        pace = Pace(settings.heartbeat_seconds, settings.claims_stop_after_seconds)
        self._heartbeat = Heartbeat(
            self._records,
            about,
            self.running,
            self._obey,
            pace=pace,
            clock=app.jobclaim.repo.clock,
            vouched=self.vouched,
        )
        self._announcement = Announcement(RegisteredTasks.of(app.jobclaim.repo), own(app.tasks))
        self._grace = settings.cancel_grace_seconds
        self._cancels: dict[OwnedRequest, float] = {}
        self._wanted: dict[OwnedRequest, dict[str, str]] = {}  # by job to be cancelled, the token that was marked
        self._seen: frozenset[str] = frozenset()
        self._following: set[str] = set()
        self._over: set[str] = set()
        self._drain_seconds = settings.drain_seconds
        self._last_seconds = settings.stop_timeout_seconds - settings.drain_seconds
        self._thread_stop = ThreadStop(pool, self._last_seconds / 2) if isinstance(pool, TaskPool) else None
        self._overdue: set[OwnedRequest] = set()
        self._give_back_at: float | None = None
        self._idle_since = 0.0
        self._told_to_end = False
        self._left_over = False
        self._stopped = threading.Event()
        self._warden = threading.Thread(target=self._watch, name="warden", daemon=True)

    def start(self) -> None:
        """Begin, once the pool has forked."""
        self._heartbeat.start()
        self._warden.start()

    def running(self) -> list[str]:
        """Ids of the jobs that children work on now."""
        started = (request.job_ids() for request in _active() if request.key == TOKEN)
        return sorted({claim.job_id for claim in worker.current().claims()}.union(*started))

    def vouched(self) -> list[str] | None:
        """Tokens of the claims that threads hold; ``None`` in a worker that ends its attempts at their hard limit."""
        if self._thread_stop is None:
            return None
        started = {request.token for request in _active() if request.key == TOKEN}
        return sorted({claim.token for claim in worker.current().claims()} | started)

    # --- what the event loop tells
    def started(self) -> None:
        """A job has started."""
        self._heartbeat.tell()

    def lost(self, request: OwnedRequest, error: BaseException) -> None:
        """The child of an attempt is gone, or is being killed for its time limit."""
        for attempt in request.attempts():
            if not self._recorder.submit(
                partial(self._record_lost, attempt, error, self._is_cancelled(request, attempt))
            ):
                self._left_over = True

    def _record_lost(self, attempt: Attempt, error: BaseException, wanted: bool) -> None:
        until = time.monotonic() + SETTLE_SECONDS
        ended: bool | None = False  # ``None``: DynamoDB was away for too long, recovery settles it
        if wanted:
            ended = settle.insist(lambda: settle.cancelled(self._app, attempt, CANCELLED), until=until)
        if ended is False:
            settle.insist(lambda: settle.lost(self._app, attempt, error), until=until)

    def unanswered(self, request: JobRequest) -> None:
        """The claim of an attempt had no answer: give the job back as soon as DynamoDB answers."""
        attempt = request.attempts()[0]

        def record() -> None:
            settle.insist(lambda: settle.unanswered(self._app, attempt), until=time.monotonic() + SETTLE_SECONDS)

        if not self._recorder.submit(record):
            self._left_over = True

    def retried(self, request: OwnedRequest) -> None:
        """An attempt ended and another one is to follow."""
        for job_id in self._wanted.get(request, ()):
            self._recorder.submit(partial(self._follow, job_id))

    # --- cancelling
    def cancel(self, request: OwnedRequest, job_id: str | None = None) -> None:
        """Tell the task, and stop it when its grace is over; all that its body holds, unless one job is named."""
        wanted = self._wanted.setdefault(request, {})
        told = False
        for attempt in request.attempts():
            if job_id in (None, attempt.job_id) and attempt.job_id not in wanted:
                wanted[attempt.job_id] = attempt.token
                told |= worker.current().mark_cancelled(attempt.token)
                log.warning("cancel.started", job_id=attempt.job_id, task=request.name, grace_seconds=self._grace)
        if request not in self._cancels:
            self._cancels[request] = time.monotonic() + (self._grace if told else 0)

    def _obey(self, record: WorkerRecord) -> Sequence[str]:
        """Carry out the commands; give the job ids of those that are over and may be forgotten."""
        self._announcement.tell(self._app.jobclaim.repo.clock())
        if record.drain and not state.should_stop:
            log.warning("worker.drain_requested")
            os.kill(os.getpid(), signal.SIGTERM)
        runs = {job_id: request for request in _active() for job_id in request.job_ids()}
        done = [job_id for job_id in record.commands if job_id in self._over]
        self._over.clear()
        for job_id in set(record.commands).difference(done, self._following):
            if record.commands[job_id] == CANCEL and job_id in runs:
                self.cancel(runs[job_id], job_id)
            else:
                self._following.add(job_id)
                if not self._recorder.submit(partial(self._follow, job_id)):
                    self._following.discard(job_id)
        return done

    def _follow(self, job_id: str) -> None:
        """Cancel a job that is not seen to run here; a command that this gives us anew is not to be forgotten."""
        try:
            if self._cancel_wherever(job_id):
                self._over.add(job_id)
        finally:
            self._following.discard(job_id)

    def _cancel_wherever(self, job_id: str) -> bool:
        """A person was told "requested", so a job that waits again, or runs elsewhere by now, is followed there.

        Gives whether the job is over: while it is only requested, or DynamoDB cannot be asked, this is to come again.
        """
        try:
            return cancel(self._app.jobclaim.repo, job_id, records=self._records) is Answer.CANCELLED
        except StoreUnavailable as error:
            log.warning("cancel.delayed", job_id=job_id, reason=str(error))
            return False
        except JobError as error:
            log.info("cancel.too_late", job_id=job_id, reason=str(error))
            return True

    def _stop_cancelled(self, request: OwnedRequest) -> None:
        pid = request.worker_pid
        if coroutines.interrupt(request.token):
            return
        if not self._children.freeze(pid):
            log.warning("cancel.cooperative", job_id=_shown(request))
            return
        time.sleep(LOOK_AGAIN_SECONDS)
        request.settled = request in _active()
        attempts = request.attempts()
        wanted = [attempt for attempt in attempts if self._is_cancelled(request, attempt)]
        ended = False
        try:
            ends = [self._end_cancelled(attempt) for attempt in wanted if request.settled]
            ended = any(ends)
        finally:  # whatever went wrong, nobody else thaws it
            if not ended:
                request.settled = False
                self._children.thaw(pid)
        if ended:
            self._children.ask_to_end(pid)
            time.sleep(GENTLE_SECONDS)
            if request in _active():
                self._children.kill(pid)
            for attempt in attempts:
                if attempt not in wanted:
                    self._record_lost(attempt, WorkerLostError(BESIDE), False)

    def _end_cancelled(self, attempt: Attempt) -> bool:
        until = time.monotonic() + SETTLE_SECONDS
        return bool(settle.insist(lambda: settle.cancelled(self._app, attempt, CANCELLED), until=until))

    def _is_cancelled(self, request: OwnedRequest, attempt: Attempt) -> bool:
        return worker.current().is_cancelled(attempt.token) or attempt.job_id in self._wanted.get(request, {})

    # --- the stop
    def give_back(self, request: OwnedRequest) -> None:
        """The attempts do not end in time: release their claims or fail them, then kill their child."""
        if not request.settled and request.job_ids():
            request.settled = True
            give_back = self._give_back if self._thread_stop is None else self._give_back_of_thread
            self._recorder.submit(partial(give_back, request))

    def _give_back_of_thread(self, request: OwnedRequest) -> None:
        """The thread runs on until the process ends; a body that awaits is cancelled, once its claim is given back."""
        ends: list[bool | None] = [None]
        try:
            ends = [self._end_unfinished(request, attempt) for attempt in request.attempts()]
            coroutines.interrupt(request.token)
        finally:
            self._left_over |= None in ends
            request.settled = False not in ends  # it has ended by itself, and is about to say so

    def _give_back(self, request: OwnedRequest) -> None:
        pid = request.worker_pid
        self._children.freeze(pid)
        ends: list[bool | None] = [None]
        try:
            ends = [self._end_unfinished(request, attempt) for attempt in request.attempts()]
            if False in ends:  # it was over, and its child may still have something to tell
                self._children.thaw(pid)
                time.sleep(GENTLE_SECONDS)
        finally:  # the pool waits for a child that stands still, whatever went wrong
            self._left_over |= None in ends
            self._children.kill(pid)

    def _end_unfinished(self, request: OwnedRequest, attempt: Attempt) -> bool | None:
        """Give back or fail, or cancel where that is wanted; ``None`` where DynamoDB was away for too long."""
        until, wanted = time.monotonic() + self._last_seconds / 2, self._is_cancelled(request, attempt)
        after = None
        if self._thread_stop is not None:
            until, after = self._thread_stop.plan(), self._thread_stop.available_at(self._app.jobclaim.repo.clock())

        def act() -> bool:
            if wanted:
                return settle.cancelled(self._app, attempt, CANCELLED)
            return settle.unfinished(self._app, attempt, available_at=after)

        ended: bool | None = settle.insist(act, until=until)
        return ended

    def close(self) -> None:
        """The pool is empty, or its threads are abandoned: finish what is to be recorded, and deregister."""
        self._stopped.set()
        try:
            self._deregister()
        finally:
            if self._thread_stop is not None:
                self._thread_stop.leave()

    def _deregister(self) -> None:
        flushed = self._recorder.flush(max(1.0, self._last_seconds / 2))
        self._heartbeat.stop(timeout=2.0)
        if self._left_over or not flushed:
            log.warning("worker.stopped_with_open_jobs")
            return
        try:
            last = self._records.remove(worker.current().worker_id)
        except JobError as error:
            log.warning("worker.deregister_failed", reason=str(error))
            return
        for job_id in last.commands if last else ():
            self._cancel_wherever(job_id)

    # --- the warden
    def _watch(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            try:
                self._tick(time.monotonic())
            except Exception:
                log.exception("supervisor.failed")

    def _tick(self, now: float) -> None:
        active = set(_active())
        self._notice_new_claims()
        self._notice_ended_children(active)
        self._stop_what_is_due(active, now)
        self._mind_the_stop(active, now)
        if self._thread_stop is not None:
            self._note_overdue(active)
            self._thread_stop.mind(active, lambda: self._recorder.flush(0))

    def _notice_ended_children(self, active: set[OwnedRequest]) -> None:
        """Celery looks once when a child's pipe closes, which is a moment too early, and then every 5 s."""
        if self._hub is not None and self._children.have_ended(request.worker_pid for request in active):
            self._hub.call_soon(self._pool.maintain_pool)

    def _notice_new_claims(self) -> None:
        """A body may claim long after its message was taken: the fleet is to know within about a second."""
        now = frozenset(claim.token for claim in worker.current().claims())
        if now - self._seen:
            self._heartbeat.tell()
        self._seen = now

    def _stop_what_is_due(self, active: set[OwnedRequest], now: float) -> None:
        for request, deadline in list(self._cancels.items()):
            if request not in active:
                self._forget(request)
            elif deadline <= now and not request.settled:
                self._cancels[request] = now + SETTLE_SECONDS
                self._recorder.submit(partial(self._stop_cancelled, request))

    def _mind_the_stop(self, active: set[OwnedRequest], now: float) -> None:
        if state.should_stop is None or state.should_stop is False:
            return
        if self._give_back_at is None:
            self._give_back_at = now + self._drain_seconds
            log.info("worker.stopping", running=len(active), seconds_left=self._drain_seconds)
        elif self._give_back_at <= now:
            if self._thread_stop is not None:
                self._thread_stop.plan()
            for request in active:
                self.give_back(request)
        self._end_children(active, now)

    def _end_children(self, active: set[OwnedRequest], now: float) -> None:
        """Wait for no child that has nothing to do, and for none at all beyond the deadline.

        A child that has ended its last job waits until the pool has read all it said, up to 30 s. The event loop reads
        no more, so that may be never; and the pool waits for the child.
        """
        assert self._give_back_at is not None
        left = self._children.left()
        if active or not left:
            self._idle_since = now
        idle = now - self._idle_since
        if left and (now >= self._give_back_at + self._last_seconds or idle >= IDLE_SECONDS + GENTLE_SECONDS):
            log.warning("worker.children_killed", count=len(left), running=len(active))
            self._children.end_now(left, gently=False)
        elif idle >= IDLE_SECONDS and not self._told_to_end:
            self._told_to_end = True
            self._children.end_now(left, gently=True)

    def _note_overdue(self, active: set[OwnedRequest]) -> None:
        """Say once that a thread runs longer than its hard limit, which nothing enforces there."""
        self._overdue &= active
        for request in active - self._overdue:
            if request.is_overdue(time.time()):
                self._overdue.add(request)
                log.warning("job.hard_limit_exceeded", job_id=_shown(request), task=request.name)

    def _forget(self, request: OwnedRequest) -> None:
        self._cancels.pop(request, None)
        for token in self._wanted.pop(request, {}).values():
            worker.current().unmark(token)


def _shown(request: OwnedRequest) -> str:
    return ", ".join(sorted(request.job_ids()))


def _active() -> list[OwnedRequest]:
    """The requests that children work on; the event loop may change Celery's set at any moment."""
    while True:
        try:
            return [request for request in state.active_requests if isinstance(request, OwnedRequest)]
        except RuntimeError:
            continue
