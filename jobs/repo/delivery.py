"""Where a claim is made: the message that the calling code works on, as far as the job needs to know it.

A worker puts a `Delivery` round each task body. Every `JobRepo` finds it, however it was made, in the body and in what
the body calls, so a claim in task code is recorded with its worker and is known to the worker's main process. A thread
that the body starts finds it where the body runs it in a copy of its context (``contextvars.copy_context().run``).
Elsewhere, in a script, a Lambda or a web server, there is none: such a claim is bounded by its lease alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final

from jobclaim.jobs.model import Job
from jobclaim.jobs.repo.store import Store


class Delivery:
    """What is known of the message that is worked on, and hears of the claims made under it; this one: nothing.

    Attributes
    ----------
    worker_id, celery_task_id : str
        What claims are recorded with, unless the caller names others.
    waits : bool
        Whether a job may not be claimed before its time: anybody who may send a message could start it.
    """

    worker_id: str = ""
    celery_task_id: str = ""
    waits: bool = False

    def may_claim(self) -> bool:
        """Whether jobs may be claimed now; a worker's may not while its heartbeats fail."""
        return True

    def attempt_of(self, job_id: str) -> int | None:
        """Claims before the one that the message asks for; ``None`` where the message names another job or none."""
        return None

    def task_of(self, job_id: str) -> str:
        """Give the task that the message runs, where it names this job; empty where it names another one or none."""
        return ""

    def asks(self, job_id: str, token: str) -> None:
        """Hear that a claim is about to be asked for: from now on the job may be held."""

    def refused(self, job_id: str, token: str) -> None:
        """Hear that the claim was not made."""

    def claimed(self, repo: Store, claim: Job) -> None:
        """Hear that the claim was made."""

    def cancelled(self, token: str) -> bool:
        """Whether a person wants the attempt with this claim to end."""
        return False

    def claim_of(self, job_id: str, remembered: Job | None) -> Job | None:
        """Give the claim on a job that this code holds; ``remembered`` is the last one of the repo that is asked.

        Threads share a repo: an attempt that lost its claim must not speak under that of a later one beside it.
        """
        return remembered

    def write_until(self, claim: Job, now: int) -> int:
        """Until when the end of a claim's attempt is tried to be written, epoch milliseconds."""
        return claim.lease_expires_at

    def sees_cancel(self) -> bool:
        """Whether a person wants an attempt of this delivery to end; the body is told with the answer."""
        return False

    def left(self, repo: Store, claim: Job, error: BaseException) -> bool:
        """Record what a claim comes to whose block raised; ``False`` leaves it to the block."""
        return False

    def writing(self) -> AbstractContextManager[None]:
        """Surround the write of an outcome: nothing cuts it short."""
        return nullcontext()

    def ended(self, repo: Store, claim: Job, after: Job) -> None:
        """Hear how a claim ended."""

    def lost(self, claim: Job, reason: str) -> None:
        """Hear that a claim was over before its outcome was written."""


NOWHERE: Final = Delivery()
"""Code outside a worker's task, and claims that a worker's own code looks after itself."""

_current: ContextVar[Delivery] = ContextVar("delivery", default=NOWHERE)


def current() -> Delivery:
    """Give the delivery that the calling code works on."""
    return _current.get()


def enter(delivery: Delivery) -> None:
    """Let what follows in this context be part of a delivery."""
    _current.set(delivery)


@contextmanager
def outside() -> Iterator[None]:
    """Make a claim that the caller looks after itself."""
    token = _current.set(NOWHERE)
    try:
        yield
    finally:
        _current.reset(token)
