"""``check_cancelled()``: how a body learns that it is to end, where nothing can interrupt it.

In a pool of threads the soft time limit and a cancel are only this. In a prefork pool the limit is an exception that
comes by itself, and a body that never asks is stopped when `Settings.cancel_grace_seconds` are over.
"""

from __future__ import annotations

from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import JobCancelled
from jobclaim.jobs.repo import delivery
from jobclaim.workers.attempt import running


def check_cancelled() -> None:
    """Raise where the calling body's attempt is to end; return at once otherwise, without asking AWS.

    To be called now and then, from a task's body or anything that it calls: between pages, rows, requests. It works in
    every pool, for a `JobTask` and for a body that claims itself. Outside an attempt it does nothing.

    Raises
    ------
    JobCancelled
        A person wants the job to end. Clean up and let it go on: the job ends CANCELLED.
    celery.exceptions.SoftTimeLimitExceeded
        The attempt runs in a thread, and its soft time limit is over. Raised once: cleaning up may take its time.
    """
    if delivery.current().sees_cancel():
        raise JobCancelled("the job is being cancelled: clean up and return")
    if (attempt := running.current()) is not None and attempt.tells_limit():
        raise SoftTimeLimitExceeded(attempt.soft_limit)
