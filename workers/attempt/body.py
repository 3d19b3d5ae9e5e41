"""The claims that a task's body makes itself with `JobRepo.claim_job`: the worker knows them, and none stays open.

::

    task_prerun ──▶ BodyDelivery ──▶ body ──▶ claim_job ──▶ noted for the main process, then requested
                                      │
                                      ├── update_status, release, claimed(...)   the outcome is the body's
                                      ▼
    task_postrun ◀── what is still open: raised → as `workers.attempt.leaving` says; returned → FAILED (CONFIGURATION),
                     because nothing else would end it

This applies to every task of an app that jobclaim is installed on, but not to a `JobTask`'s own claim.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

from celery import states
from structlog.contextvars import bind_contextvars, unbind_contextvars

from jobclaim.jobs import ClaimLost, Job, JobNotFound, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.repo import delivery as place
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage.pauses import Pauses
from jobclaim.workers.attempt import coroutines, ending, leaving, outcome, running, sla, soft_limit
from jobclaim.workers.handle import installed_on
from jobclaim.workers.messages.message import DELIVERY, Address, address, delivery_of
from jobclaim.workers.state import worker
from jobclaim.workers.submission.dispatch import publish_if_due
from jobclaim.workers.telemetry import traces

log = get_logger("jobclaim.worker")


class BodyDelivery(place.Delivery):
    """The message that a child is working on, and the claims that its body holds.

    Parameters
    ----------
    key : str
        Identifies the delivery to the main process.
    """

    def __init__(self, task: Any, request: Any, key: str) -> None:
        self.worker_id = worker.current().worker_id
        self.celery_task_id = request.id
        self._task, self._key, self._request = task, key, request
        self._is_plain = bool(request.get(DELIVERY))
        self._requested_ids: set[str] = set()
        self._claims: dict[str, tuple[JobRepo, Job]] = {}
        self._lock = threading.Lock()
        self.is_retrying = False
        self._cause: BaseException | None = None

    waits = True

    @cached_property
    def _address(self) -> Address | None:
        """The job that the message names; few bodies claim any."""
        return address(self._request)

    # --- calls from the repo
    def may_claim(self) -> bool:
        """Return whether the body may claim: not while heartbeats fail."""
        return worker.current().may_claim()

    def pauses(self) -> Pauses | None:
        """Return the pauses that the main process has read with its last heartbeat."""
        return worker.current().pauses()

    def attempt_of(self, job_id: str) -> int | None:
        """Return the attempt of the message's own job, once: a body that releases the job may claim it again."""
        named = self._address
        return named.attempt if named and named.job_id == job_id and job_id not in self._requested_ids else None

    def task_of(self, job_id: str) -> str:
        """Return the running task if its message names the job."""
        return str(self._task.name) if self._address and self._address.job_id == job_id else ""

    def asks(self, job_id: str, token: str) -> None:
        """Note the claim for the main process."""
        self._requested_ids.add(job_id)
        worker.current().note(self._key, job_id, token)

    def refused(self, job_id: str, token: str) -> None:
        """Remove the note of the claim."""
        self._drop(token)

    def claimed(self, repo: Store, claim: Job) -> None:
        """Log the claim, and bind the body's log lines and spans to the job."""
        assert isinstance(repo, JobRepo)
        with self._lock:
            self._claims[claim.claim_token] = (repo, claim)
        self._show()
        if not self._is_job_task:
            traces.enter(repo.settings, claim)
        wait = round(claim.wait_ms / 1000, 3)
        missed = sla.is_missed(claim, wait, repo.settings)
        log.info("claim.acquired", wait_seconds=wait, sla_missed=missed, **claim.log_context())

    def cancelled(self, token: str) -> bool:
        """Return whether the main process is to end the attempt."""
        return worker.current().is_cancelled(token)

    def claim_of(self, job_id: str, remembered: Job | None) -> Job | None:
        """Return the claim that this body, or its `JobTask` before it, made; in a thread, no other body's."""
        with self._lock:
            claims = [claim for _, claim in self._claims.values() if claim.job_id == job_id]
        own = getattr(self._request, "job", None)
        if claims:
            return claims[-1]
        if own is not None and own.job_id == job_id:
            return remembered if remembered is not None and remembered.claim_token == own.claim_token else None
        return remembered if running.current() is None else None

    def write_until(self, claim: Job, now: int) -> int:
        """Return until when to retry writes: beyond the lease in a thread for which the worker vouches."""
        return running.write_until(claim.lease_expires_at, now)

    def sees_cancel(self) -> bool:
        """Return whether the main process is to end any attempt that the body holds."""
        with self._lock:
            tokens = [self._key, *self._claims]
        if not any(map(self.cancelled, tokens)):
            return False
        self._request.cancel_seen = True
        return True

    def left(self, repo: Store, claim: Job, error: BaseException) -> bool:
        """Record the outcome of a claim whose block raised; not while the process is being ended, which the worker
        handles.
        """
        assert isinstance(repo, JobRepo)
        if not leaving.process_is_ending():
            ending.end_claim(self._task, repo, claim, error, self._final_state())
        return True

    def writing(self) -> AbstractContextManager[None]:
        """Suppress the soft time limit while the body's outcome is written."""
        return soft_limit.passes_by()

    def ended(self, repo: Store, claim: Job, after: Job) -> None:
        """Remove the claim, and finish its spans."""
        if not self._forget(claim):
            return
        if after.status is not JobStatus.PENDING:
            outcome.end_spans(repo, after)
            return
        failure = after.failure.exception if after.failure else ""
        move = "retry" if after.charged == claim.charged else "release"
        traces.ended(repo.settings, claim, move, at=repo.clock(), exception=failure)
        if move == "retry":
            log.info("job.retry_scheduled", available_at=after.available_at, exception=failure, **claim.log_context())

    def lost(self, claim: Job, reason: str) -> None:
        """Remove a claim that has ended."""
        if self._forget(claim):
            log.warning("claim.lost", reason=reason, **claim.log_context())

    # --- calls from the worker
    def open_claims(self) -> list[tuple[JobRepo, Job]]:
        """Return the claims without an outcome, the message's own job first."""
        with self._lock:
            found = list(self._claims.values())
        own = self._address.job_id if self._address else ""
        return sorted(found, key=lambda pair: pair[1].job_id != own)

    def is_of(self, task: Any) -> bool:
        """Return whether the task's own body runs, not one that it calls."""
        return bool(task.name == self._task.name)

    def is_of_request(self, request: Any) -> bool:
        """Return whether the request is the message's, or a copy that the body made, not that of an eager call."""
        return request is self._request or bool(_key(self._task, request))

    @contextmanager
    def retrying(self, cause: BaseException | None) -> Iterator[None]:
        """Treat a message that Celery sends inside the block as the retry's."""
        self.is_retrying, self._cause = True, cause
        try:
            yield
        finally:
            self.is_retrying, self._cause = False, None

    def retry(self, at: int | None) -> Job | None:
        """Make the open claims' jobs PENDING; return the one that the retry's own message is for, if any.

        Raises
        ------
        ClaimLost, JobNotFound, StoreUnavailable
            For that job: nothing may be sent.
        """
        cause = self._cause
        kind = outcome.kind_of(cause)
        own: Job | None = None
        for repo, claim in self.open_claims():
            is_own = own is None and claim.task == self._task.name
            try:
                after = repo.reschedule(claim.job_id, available_at=at, error=cause, kind=kind, token=claim.claim_token)
            except (ClaimLost, JobNotFound, StoreUnavailable) as error:
                if is_own:
                    raise
                log.warning("job.retry_dropped", reason=str(error), **claim.log_context())
                continue
            if is_own:
                own = after
            else:
                publish_if_due(self._task.app, after)
        return own

    def close(self, state: str | None, value: Any) -> None:
        """End the claims that the body left open."""
        if leaving.process_is_ending():
            return
        if not self._requested_ids:
            if state == states.SUCCESS and self._is_plain:
                ending.end_unclaimed(self._task, self._address)
            return
        for repo, claim in self.open_claims():
            self._forget(claim)
            try:
                ending.end_claim(self._task, repo, claim, self._raised(state, value), self._final_state())
            except Exception:
                log.exception("worker.outcomes_not_recorded")
        self._drop_rest()

    def _raised(self, state: str | None, value: Any) -> BaseException | None:
        """Return the exception that the body raised: Celery's tracer passes it on, or it is still being raised, as
        `SystemExit` is.
        """
        return value if isinstance(value, BaseException) and state != states.SUCCESS else sys.exc_info()[1]

    def _final_state(self) -> tuple[str, Any] | None:
        """Return the state that the body reported last by ``update_state``, with its meta data."""
        return getattr(self._request, "final_state", None)

    # --- notes of claims
    def _forget(self, claim: Job) -> bool:
        with self._lock:
            known = self._claims.pop(claim.claim_token, None)
        if known is None:
            return False
        self._drop(claim.claim_token)
        self._show()
        return True

    def _show(self) -> None:
        """Bind the body's log lines to the job that it claimed last and still holds."""
        with self._lock:
            claims = [claim for _, claim in self._claims.values()]
        if self._is_job_task:
            return
        if claims:
            bind_contextvars(**claims[-1].log_context())
        else:
            unbind_contextvars("job_id", "task", "queue", "attempt")

    @property
    def _is_job_task(self) -> bool:
        """Return whether log lines and spans belong to a job that the task claimed before its body."""
        return getattr(self._task.request, "job", None) is not None

    def _drop(self, token: str) -> None:
        worker.current().drop(token)

    def _drop_rest(self) -> None:
        """Drop the notes of claims whose requests were not answered: if such a claim was made, recovery ends its
        attempt.
        """
        for claim in worker.current().claims_of(self._key):
            self._drop(claim.token)


def begin(task: Any, **_: Any) -> None:
    """Handle ``task_prerun``: tie claims to the message."""
    request = task.request
    if key := _key(task, request):
        place.enter(BodyDelivery(task, request, key))
    elif request.is_eager:
        coroutines.prepare_instance(task)  # the app may not be finalized yet, so its tasks may not have been prepared


def end(task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    """Handle ``task_postrun``, which is sent however a task ends."""
    current = place.current()
    if isinstance(current, BodyDelivery) and current.is_of_request(task.request):
        place.enter(place.NOWHERE)
        current.close(state, retval)


def _key(task: Any, request: Any) -> str:
    """Return the key of the delivery that a worker runs; empty for eager and direct calls, which run inside another
    one.
    """
    if request.called_directly or request.is_eager or installed_on(task.app) is None:
        return ""
    return delivery_of(request)
