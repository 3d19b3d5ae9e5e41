"""User functions that are called after failures: to notify a channel, open a ticket, page someone.

::

    from jobclaim.jobs.failures.hooks import on_dead

    @on_dead
    def tell_the_channel(job): ...

They are called in the process that wrote the failure, after the write: a worker's child, its main process (lost
children, time limits, stops, messages that no child can run), recovery, or your own code that ends a job with
`JobRepo.update_status`. Their exceptions are logged and change nothing. A process that dies after the write does not
call them: `jobclaim dead list` is the authoritative list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import DeadState, Job, JobStatus

log = get_logger("jobclaim.jobs")

Hook: TypeAlias = Callable[[Job], object]
H = TypeVar("H", bound=Hook)
_on_failure: Final[list[Hook]] = []
_on_dead: Final[list[Hook]] = []


def on_failure(hook: H) -> H:
    """Register a function to call with each job that FAILED, whether recovery starts it again or not."""
    _on_failure.append(hook)
    return hook


def on_dead(hook: H) -> H:
    """Register a function to call with each job that FAILED and that now awaits a person."""
    _on_dead.append(hook)
    return hook


def forget(hook: Hook) -> None:
    """Unregister a function."""
    for known in (_on_failure, _on_dead):
        if hook in known:
            known.remove(hook)


def call_hooks(job: Job) -> None:
    """Call the functions registered for a job's end."""
    if job.status is not JobStatus.FAILED:
        return
    for hook in (*_on_failure, *(_on_dead if job.dead_state == DeadState.WAITING else ())):
        try:
            hook(job)
        except Exception as error:  # noqa: BLE001 - a failing hook must not change the job's outcome
            log.warning("hook.failed", error=type(error).__name__, **job.log_context())
