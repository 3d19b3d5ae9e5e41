"""Celery's own tasks (``celery.map``, ``celery.starmap``, ...) run only where a program of this fleet sent them.

They call the bodies of other tasks without a claim, so anyone who may send to a queue could run any task with any
arguments through them. Sending one writes a note to the job table: its id, and a digest of task and arguments. A worker
runs it only if that note exists; otherwise the message goes to the dead-letter queue. So it takes the permission to
write to the table as well. Costs one write per call of ``map``, ``starmap`` or ``chunks``, and one read to run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from celery import Celery, uuid
from kombu.utils.json import dumps, loads

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.storage.notes import Kind, Notes
from jobclaim.specs.quotas import SQS_MAX_RETENTION
from jobclaim.workers.handle import handle_of, installed_on
from jobclaim.workers.messages.adoption import Unadoptable

log = get_logger("jobclaim.worker")

PREFIX: Final = "celery."
KEPT_SECONDS: Final = SQS_MAX_RETENTION
"""How long a note is kept: as long as SQS keeps its message at most."""


def guard(app: Celery) -> None:
    """Guard Celery's own tasks in an app; a second call changes nothing."""
    for name, task in app.tasks.items():
        if name.startswith(PREFIX) and not isinstance(vars(task).get("apply_async"), partial):
            type(task).before_start = before_start  # Celery's tracer looks for it in the class
            task.apply_async = partial(_send_known, task, task.apply_async)


def _send_known(task: Any, celerys: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """Write a note of the message, then send it as Celery does."""
    if installed_on(task.app) is None or task.app.conf.task_always_eager:
        return celerys(args, kwargs, **options)
    task_id = options.pop("task_id", None) or uuid()
    digest = _digest(task.name, args or (), kwargs or {})
    Notes.of(handle_of(task.app).repo).put(Kind.SENT, task_id, digest, seconds=KEPT_SECONDS)
    return celerys(args, kwargs, task_id=task_id, **options)


def before_start(task: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a message without a note from a program of this fleet.

    Raises
    ------
    workers.messages.adoption.Unadoptable
        There is no note, or the message has other arguments.
    """
    request = task.request
    if not (request.called_directly or request.is_eager) and installed_on(task.app) is not None:
        known = Notes.of(handle_of(task.app).repo).get(Kind.SENT, task_id)
        if known != _digest(task.name, args, kwargs):
            reason = f"task {task.name!r} is Celery's own, and no program of this fleet has sent this call of it"
            log.error("message.refused", job_id=task_id, task=task.name, reason=reason)
            raise Unadoptable(reason)


def _digest(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Hash a call as its message carries it."""
    plain = loads(dumps([name, list(args), dict(kwargs)]))
    return hashlib.sha256(dumps(plain, sort_keys=True).encode()).hexdigest()
