"""Run an ended job again with other arguments: a new job, linked to the old one, which stays as it is.

`jobclaim.jobs.storage.edits` keeps the links. What followed the old job, the rest of a chain or a chord, does not
follow the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from jobclaim.jobs import IllegalTransition, InvalidInput, InvalidPayload, Job, JobRepo, StoreUnavailable
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol.submission import id_for_key
from jobclaim.jobs.redaction import HIDDEN, MASK
from jobclaim.jobs.storage.edits import Edits
from jobclaim.workers.messages import call
from jobclaim.workers.submission import by_name
from jobclaim.workers.submission.dispatch import publish_if_due, publish_if_unsent
from jobclaim.workers.submission.submitted import SubmittedTask

log = get_logger("jobclaim.dispatch")

MASKS: Final = (MASK, HIDDEN)
"""What stands for a hidden value in logs and on the dashboard."""


@dataclass(frozen=True, slots=True)
class Resubmitted:
    """The new job, and whether its arguments were checked against its task, which needs the task's code."""

    job: Job
    checked: bool


def retry_edited(app: Any, repo: JobRepo, job_id: str, payload: Any, *, key: str | None = None) -> Resubmitted:
    """Submit the task of an ended job again with another payload, to the old job's queue.

    Parameters
    ----------
    payload
        The payload as `jobclaim show --payload` shows it: for a `JobTask` a map of ``args`` and ``kwargs``.
    key : str, optional
        Idempotency key of the new job; default: that of the task's rules, if it has any.

    Raises
    ------
    IllegalTransition
        The job has not ended.
    InvalidInput, InvalidPayload
        The payload is that of the old job, holds the placeholder of a hidden value, or does not fit the task.
    JobNotFound, StoreUnavailable
    """
    old = repo.get_job(job_id)
    if old.status.is_open:
        raise IllegalTransition(
            f"job {job_id!r} is {old.status}; only a job that has ended can be run again with other arguments: cancel "
            "it first"
        )
    _check_payload(old, payload)
    written = partial(_link, repo, old)
    if old.task not in app.tasks:
        return Resubmitted(_copied(app, repo, old, payload, key, written), False)
    args, kwargs = call.from_payload(payload)
    _check_key(app.tasks[old.task], old, args, kwargs, key)
    submitted = by_name.submit(
        app,
        repo,
        old.task,
        args,
        kwargs,
        queue=old.queue,
        key=key,
        tags=old.tags,
        is_sure=lambda _: True,
        written=written,
    )
    return Resubmitted(submitted, True)


def _check_payload(old: Job, payload: Any) -> None:
    if is_mark(old.payload):
        raise InvalidPayload(f"the payload of job {old.job_id!r} could not be read from S3; try again")
    before = set(_masks("payload", old.payload))
    for place in _masks("payload", payload):
        if place not in before:
            raise InvalidPayload(
                f"{place} is the placeholder of a hidden value; write the real value in its place, or edit the job "
                "where its arguments are shown: `jobclaim retry ID --edit`"
            )
    if codec.encode(payload) == codec.encode(old.payload):
        raise InvalidInput(
            f"the payload is the same as that of job {old.job_id!r}; to run it unchanged, use `jobclaim retry`"
        )


def _masks(place: str, value: Any) -> Iterator[str]:
    """Yield the places where a payload holds the placeholder of a hidden value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _masks(f"{place}[{name!r}]", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _masks(f"{place}[{index}]", inner)
    elif value in MASKS:
        yield f"{place}={value!r}"


def _check_key(task: Any, old: Job, args: list[Any], kwargs: dict[str, Any], key: str | None) -> None:
    """Refuse a new job that would have the old one's id, and so take its place."""
    if isinstance(task, SubmittedTask):
        identity = task._identity(args, kwargs, key, None)
        key = identity.key if identity else None
    if key is not None and id_for_key(old.task, key) == old.job_id:
        raise InvalidInput(
            f"the new job would have the idempotency key of job {old.job_id!r} and take its place; pass another key "
            "(--key)"
        )


def _copied(app: Any, repo: JobRepo, old: Job, payload: Any, key: str | None, written: Any) -> Job:
    """Write the job of a task that is not registered here, with the old job's own settings."""
    if key is not None:
        _check_key(None, old, [], {}, key)
    job = repo.create_job(
        old.task,
        payload,
        queue=old.queue,
        idempotency_key=key,
        max_attempts=old.max_attempts,
        on_orphan=old.on_orphan,
        failure_policy=old.failure_policy,
        tags=old.tags,
    )
    written(job)
    if job.created:
        publish_if_due(app, job)
    else:
        publish_if_unsent(app, job)
    return job


def _link(repo: JobRepo, old: Job, new: Job) -> None:
    """Record that the new job was edited from the old one, unless it existed before, for an equal call."""
    if not new.created:
        return
    try:
        Edits.of(repo).link(old.job_id, new.job_id, seconds=repo.settings.dead_retention_days * 86_400.0)
    except StoreUnavailable as error:  # an error would make the person submit it once more
        log.warning("edit.not_linked", reason=str(error), edited_from=old.job_id, **new.log_context())
