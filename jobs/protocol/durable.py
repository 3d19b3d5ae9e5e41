"""The effect of a step, a progress report, a wait and a resume on a job: pure functions. Times are epoch milliseconds.

::

    body waits ──▶ PENDING, due at the deadline, no message ──▶ resumed: due now, its message is sent
                                                          └───▶ the deadline comes: recovery sends a message as for any
                                                                job that is due, and `WaitTimeout` is raised in the body
"""

from __future__ import annotations

from dataclasses import replace

from jobclaim.jobs.kept import Step, Wait
from jobclaim.jobs.model import Job
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.transitions import Move


def with_step(job: Job, step: Step) -> Job:
    """Add one finished step."""
    return replace(job, steps=(*job.steps, step), step_count=job.step_count + 1)


def announced(job: Job, name: str, secret: str) -> Job:
    """Note that the body requested the token of a wait."""
    known = job.wait_named(name) or Wait(name=name)
    return _with_wait(replace(job, wait_secret=secret), replace(known, announced=True))


def timed_out(job: Job, name: str) -> Job:
    """Note that the wait timed out in the body; a later resume is refused."""
    known = job.wait_named(name) or Wait(name=name)
    return _with_wait(job, replace(known, timed_out=True))


def waiting(job: Job, name: str, now: int, until: int) -> Job:
    """End the attempt uncharged, and let the job wait for a name without a worker.

    It is due at its deadline, so that the index shows it to recovery then and not before.
    """
    known = job.wait_named(name) or Wait(name=name)
    pending = lifecycle.pending_again(job, Move.WAIT, None, now, max(now, until), charge=False)
    noted = _with_wait(pending, replace(known, since=known.since or now, until=until))
    return replace(noted, waits_for=name)


def resumed(job: Job, wait: Wait, now: int) -> Job:
    """Add a resume: a waiting job is due now; for any other job the body finds it when it reaches the wait."""
    noted = _with_wait(job, wait)
    if job.waiting is None or job.waits_for != wait.name:
        return noted
    return replace(noted, waits_for="", available_at=now, dispatches=job.dispatches + 1, dispatched_at=now)


def cleared(job: Job) -> Job:
    """Drop steps, checkpoint and waits, so that the next attempt starts from nothing."""
    changes = job.wait_changes + bool(job.waits)
    return replace(
        job, steps=(), step_count=0, waits=(), wait_changes=changes, wait_secret="", progress=None, checkpoint=None
    )


def _with_wait(job: Job, wait: Wait) -> Job:
    known = job.wait_named(wait.name)
    others = tuple(one for one in job.waits if one is not known)
    return replace(job, waits=(*others, wait), wait_changes=job.wait_changes + 1)
