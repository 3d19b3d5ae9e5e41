"""The links of a job to others: callbacks, error callbacks, the rest of its chain, its chord, group, root and parent.

They are written with the job, in its envelope (`jobclaim.workers.messages.envelope`), so that every message has them,
and so that a process that ends a job in its worker's place can notify them.

Callbacks get their ids when the job is written. An attempt that was cut off after it had sent them, and the attempt
that follows it, therefore submit the same jobs, and each exists once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery
from celery.app.task import Context
from celery.canvas import maybe_signature

from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.storage.large import Large
from jobclaim.workers.messages.call import to_payload
from jobclaim.workers.messages.envelope import names, restored, unseal

FIELDS: Final[Mapping[str, str]] = {
    "link": "callbacks",
    "link_error": "errbacks",
    "chain": "chain",
    "chord": "chord",
    "group_id": "group",
    "group_index": "group_index",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "replaced_task_nesting": "replaced_task_nesting",
}
"""Options of a call, and their names in Celery's request."""
NO_LINKS: Final[Mapping[str, Any]] = {**dict.fromkeys(FIELDS.values()), "replaced_task_nesting": 0}
TELL_TASK: Final = "jobclaim.tell_links"  # stored with jobs, so it must not change
CHORD_TASK: Final = "jobclaim.chord"
REPLACED: Final = ".replaced"
"""Follows the id of a replaced job in the id of its replacement."""
TELL_ATTEMPTS: Final = 20
LONGEST_PLAIN_ID: Final = 200
"""Longest id that is part of the id of the job that notifies its links; longer ones are hashed, to fit an id."""
TOLD_OF_FAILURE: Final = frozenset({"link_error", "chain", "chord"})


def prepare(app: Celery, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call as they are stored: its callbacks with ids, and who called it."""
    prepared = {**options, **lineage(app, options)}
    for option in ("link", "link_error"):
        if links := as_list(options.get(option)):
            prepared[option] = [_with_ids(app, link) for link in links]
    return prepared


def lineage(app: Celery, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call that this thread's task makes says of its caller; nothing outside a task."""
    parent = app.current_worker_task
    if not (parent and parent.request.id):
        return {}
    return {
        "root_id": options.get("root_id") or parent.request.root_id or parent.request.id,
        "parent_id": options.get("parent_id") or parent.request.id,
    }


def of_job(job: Job) -> dict[str, Any]:
    """Read a job's links, except those in S3, by their names in Celery's request."""
    return {} if not job.envelope else _as_fields(unseal(job.envelope))


def _as_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    return {field: options[option] for option, field in FIELDS.items() if option in options}


def of_claim(job: Job) -> dict[str, Any]:
    """Return all links of the request that runs a job, read from the job and never from the message."""
    return {**NO_LINKS, "root_id": job.job_id, **of_job(job)}


def restore(request: Any, job: Job, large: Large) -> None:
    """Put the links that did not fit its message into a request.

    Raises
    ------
    OffloadLost, StoreUnavailable
    """
    request.update(_as_fields(restored(job.envelope, large)))


def context(job: Job, large: Large) -> Context:
    """Make the request of a job outside its worker, sufficient to notify the job's links of its outcome.

    Raises
    ------
    OffloadLost, StoreUnavailable
    """
    known = {"root_id": job.job_id, **_as_fields(restored(job.envelope, large))}
    return Context(id=job.job_id, task=job.task, delivery_info={}, retries=max(0, job.charged - 1), **known)


def has_consequences(job: Job) -> bool:
    """Return whether links are to be notified when the job fails or is cancelled; a chord notifies its body itself."""
    return job.task == CHORD_TASK or bool(TOLD_OF_FAILURE & names(job.envelope))


def announcement(repo: JobRepo, job: Job) -> Job | None:
    """Write the small job that notifies a job's links of its outcome, once per outcome; ``None`` if there are none.

    For callers that end a job in its worker's place: recovery, users, a worker's main process. The caller sends its
    message.

    Raises
    ------
    JobError
        It was not written.
    """
    if not (is_news(job) and has_consequences(job)):
        return None
    job_ = repo.create_job(
        TELL_TASK,
        to_payload([job.job_id], {}),
        job_id=f"{_short(job.job_id)}.told.{job.attempt}",
        queue=job.queue,
        max_attempts=TELL_ATTEMPTS,
        on_orphan="retry",
    )
    return job_ if job_.created else None


def following(repo: JobRepo, job: Job) -> Job:
    """Write, or plan, the small job that sends what follows a job's success: its callbacks and the rest of its chain.

    For a completion in a transaction: nothing may be sent before it, and a message sent after it may be lost.
    """
    return repo.create_job(
        TELL_TASK,
        to_payload([job.job_id], {}),
        job_id=f"{_short(job.job_id)}.followed.{job.attempt}",
        queue=job.queue,
        max_attempts=TELL_ATTEMPTS,
        on_orphan="retry",
    )


def is_news(job: Job) -> bool:
    """Return whether the links have not been notified before: a dead letter whose automatic retry fails does not notify
    them again.
    """
    return bool(job.envelope or job.task == CHORD_TASK) and not job.dead_retries


def original_id(job_id: str) -> str:
    """Return the id that a job had before any replacement: its chord knows it by that id."""
    while job_id.endswith(REPLACED):
        job_id = job_id.removesuffix(REPLACED)
    return job_id


def has_followers(request: Any) -> bool:
    """Return whether anything follows if the running task succeeds."""
    return bool(request.callbacks or request.chain)


def _with_ids(app: Celery, link: Any) -> Any:
    """Return a copy of a callback with its own ids, because it may be linked to many jobs; existing ids are kept."""
    signature = maybe_signature(link, app=app).clone()
    signature.freeze()
    return signature


def _short(job_id: str) -> str:
    if len(job_id) <= LONGEST_PLAIN_ID:
        return job_id
    return f"{job_id[: LONGEST_PLAIN_ID - 65]}.{hashlib.sha256(job_id.encode()).hexdigest()}"


def as_list(value: Any) -> list[Any]:
    """Return the links of an option, which may be one signature, several or ``None``."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
