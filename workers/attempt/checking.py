"""``check_cancelled()`` lets a body find out that it must end, where nothing can interrupt it.

In a pool of threads this is the only effect of the soft time limit and of a cancel. In a prefork pool the limit is
raised without a check, and a body that never checks is stopped after `Settings.cancel_grace_seconds`.
"""

from __future__ import annotations

from celery.exceptions import SoftTimeLimitExceeded

from jobclaim.jobs import JobCancelled
from jobclaim.jobs.repo import delivery
from jobclaim.workers.attempt import running


def check_cancelled() -> None:
    """Raise if the calling body's attempt is to end; else return at once, without a request to AWS.

    Call it regularly, from a task's body or anything that it calls: between pages, rows, requests. It works in every
    pool, for a `JobTask` and for a body that claims itself. Outside an attempt it does nothing.

    Raises
    ------
    JobCancelled
        The job is to be cancelled. Clean up and let the exception propagate: the job ends CANCELLED.
    celery.exceptions.SoftTimeLimitExceeded
        The attempt runs in a thread and has reached its soft time limit. Raised once, so cleaning up is not
        interrupted.
    """
    if delivery.current().sees_cancel():
        raise JobCancelled("the job is being cancelled: clean up and return")
    if (attempt := running.current()) is not None and attempt.report_limit():
        raise SoftTimeLimitExceeded(attempt.soft_limit)
