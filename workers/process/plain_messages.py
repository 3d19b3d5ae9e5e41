"""Decide which messages without a job a worker accepts: anyone who may send to a queue can write one.

::

    names no job, and its task is
        one of Celery's own (``celery.starmap``)   accepted only with its sender's note: `builtins`
        jobclaim's own                             recovery's, on recovery's queue; no other
        routed to another queue                    refused
        any other                                  accepted, unless ``adopt_plain_messages`` is off

What is refused goes to the queue's dead-letter queue, with the reason. With ``adopt_plain_messages`` off, a plain task
still gets the messages of its jobs, whose only argument is the job's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobclaim.settings import Settings
from jobclaim.specs.tasks import OWN_TASKS
from jobclaim.workers import builtins, time_limits
from jobclaim.workers.handle import Handle
from jobclaim.workers.schedule.entries import RECOVERY_TASK


def refusal(task: Any, handle: Handle, queue: str) -> str:
    """Return why a message without a job is refused; empty if it is accepted.

    Parameters
    ----------
    queue : str
        Logical name of the queue that it was received from; empty if that is unknown.
    """
    settings, name = handle.settings, str(task.name)
    if name == RECOVERY_TASK:
        return "" if queue in ("", settings.recovery_queue) else _wrong_queue(name, settings.recovery_queue, queue)
    if name.startswith(builtins.PREFIX):
        return ""  # checked before its body: its sender must have written a note
    if name.startswith(OWN_TASKS):
        return f"task {name!r} is jobclaim's own and runs only as a job"
    routed = time_limits.named_queue(task, handle)
    if queue and routed and routed != queue:
        return _wrong_queue(name, routed, queue)
    if not adopts(settings, queue):
        return (
            f"it names no job, and queue {queue or '?'!r} takes no such message: adopt_plain_messages is off. Submit "
            "it as a job, or switch adopt_plain_messages on for the queue"
        )
    return ""


def misused(
    task: Any, settings: Settings, queue: str, job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    """Return why a plain task's message that names a job is refused; empty if it is accepted.

    Where plain messages are refused, naming a job must not be a way to call the body with other arguments.
    """
    if adopts(settings, queue) or (list(args) == [job_id] and not kwargs):
        return ""
    return (
        f"it calls plain task {task.name!r} with other arguments than its job's id, and queue {queue or '?'!r} takes "
        "no such message: adopt_plain_messages is off"
    )


def adopts(settings: Settings, queue: str) -> bool:
    """Return whether a queue accepts messages that name no job; an unknown queue counts as the settings' default."""
    own = settings.queue(queue).adopt_plain_messages if queue in settings.queue_names else None
    return settings.adopt_plain_messages if own is None else own


def _wrong_queue(name: str, own_queue: str, queue: str) -> str:
    return f"task {name!r} belongs to queue {own_queue!r}, and its message came from queue {queue!r}"
