"""Functions of the user's own that hear of failures: for a channel, a ticket, a page.

::

    from jobclaim.jobs.failures.hooks import on_dead

    @on_dead
    def tell_the_channel(job): ...

They are called in the process that wrote the failure, after it was written: a worker's child, its main process (lost
children, time limits, stops, messages that no child can run), recovery, or code of your own that ends a job by
`JobRepo.update_status`. What they raise is logged and changes nothing. A process that dies in between has not called
them: `jobclaim dead list` is the truth.
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
    """Let a function hear of each job that FAILED, whether recovery starts it again or not."""
    _on_failure.append(hook)
    return hook


def on_dead(hook: H) -> H:
    """Let a function hear of each job that FAILED and that now waits for a person."""
    _on_dead.append(hook)
    return hook


def forget(hook: Hook) -> None:
    """Call a function no more."""
    for known in (_on_failure, _on_dead):
        if hook in known:
            known.remove(hook)


def tell(job: Job) -> None:
    """Call the functions that a job's end concerns."""
    if job.status is not JobStatus.FAILED:
        return
    for hook in (*_on_failure, *(_on_dead if job.dead_state == DeadState.WAITING else ())):
        try:
            hook(job)
        except Exception as error:  # noqa: BLE001 - a channel that is down must not fail the job twice
            log.warning("hook.failed", error=type(error).__name__, **job.log_context())
