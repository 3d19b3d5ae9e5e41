"""The context of a claim: what a job needs to know about the message that the calling code is processing.

A worker puts a `Delivery` around each task body. Every `JobRepo` finds it, however it was created, in the body and in
the code that the body calls, so a claim in task code is recorded with its worker and is known to the worker's main
process. A thread that the body starts finds it only if it runs in a copy of the body's context
(``contextvars.copy_context().run``). Elsewhere, in a script, a Lambda function or a web server, there is none: only the
lease bounds such a claim.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final

from jobclaim.jobs.model import Job
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage.pauses import Pauses


class Delivery:
    """The message being processed, and the observer of the claims made under it. This base class does nothing.

    Attributes
    ----------
    worker_id, celery_task_id : str
        What claims are recorded with, unless the caller passes others.
    waits : bool
        Whether a job may not be claimed before it is due; otherwise anyone who may send a message could start it early.
    """

    worker_id: str = ""
    celery_task_id: str = ""
    waits: bool = False

    def may_claim(self) -> bool:
        """Check whether jobs may be claimed now; a worker may not while its heartbeats fail."""
        return True

    def pauses(self) -> Pauses | None:
        """Return the pauses that the worker knows; ``None`` if the repo must read them itself."""
        return None

    def attempt_of(self, job_id: str) -> int | None:
        """Return the claims before the one that the message asks for; ``None`` if it does not name this job."""
        return None

    def task_of(self, job_id: str) -> str:
        """Return the task that the message runs if it names this job; empty if it names another one or none."""
        return ""

    def asks(self, job_id: str, token: str) -> None:
        """Note that a claim is about to be requested: from now on the job may be held."""

    def refused(self, job_id: str, token: str) -> None:
        """Note that the claim was not made."""

    def claimed(self, repo: Store, claim: Job) -> None:
        """Note that the claim was made."""

    def cancelled(self, token: str) -> bool:
        """Check whether cancellation of the attempt with this claim was requested."""
        return False

    def claim_of(self, job_id: str, remembered: Job | None) -> Job | None:
        """Return the claim on a job that this code holds; ``remembered`` is the last one of the repo that is asked.

        Threads share a repo: an attempt that lost its claim must not write under that of a later attempt beside it.
        """
        return remembered

    def write_until(self, claim: Job, now: int) -> int:
        """Return until when to retry writing the end of a claim's attempt, in epoch milliseconds."""
        return claim.lease_expires_at

    def sees_cancel(self) -> bool:
        """Check whether cancellation of an attempt in this delivery was requested, and inform the body."""
        return False

    def left(self, repo: Store, claim: Job, error: BaseException) -> bool:
        """Record the outcome of a claim whose block raised; ``False`` leaves that to the block."""
        return False

    def writing(self) -> AbstractContextManager[None]:
        """Protect the write of an outcome from being interrupted."""
        return nullcontext()

    def ended(self, repo: Store, claim: Job, after: Job) -> None:
        """Note how a claim ended."""

    def lost(self, claim: Job, reason: str) -> None:
        """Note that a claim had ended before its outcome was written."""


NOWHERE: Final = Delivery()
"""The delivery of code outside a worker's task, and of claims that a worker's own code supervises itself."""

_current: ContextVar[Delivery] = ContextVar("delivery", default=NOWHERE)


def current() -> Delivery:
    """Return the delivery that the calling code is processing."""
    return _current.get()


def enter(delivery: Delivery) -> None:
    """Make the rest of this context part of a delivery."""
    _current.set(delivery)


def outside() -> AbstractContextManager[None]:
    """Make a claim that the caller supervises itself."""
    return _Outside()


class _Outside(AbstractContextManager[None]):
    """A class, because a generator's context manager takes twice as long, for each claim."""

    def __enter__(self) -> None:
        self._token = _current.set(NOWHERE)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
