"""Chords: each is a job of its own, which its last member wakes.

::

    chord(header, body)
      │ one job per chord, under the group's id: payload = ids of the header's results, and the body
      │ header tasks are sent
      ▼
    each member that ended, however it did, is counted (`jobs.storage.members`): one write
      │ the last one sends the chord's message                     after a crash, it wakes up by itself
      ▼
    the chord's job is claimed ── all ended ──▶ results joined, body submitted under its fixed id; or the body fails
                               ├─ some have not ──▶ snooze
                               └─ one never will (`workers.results.waiting`), or the body is refused ──▶ the body fails

Nothing here depends on a member being counted exactly once: a set counts a retried or repeated one once, and the body,
a job with a predefined id, exists once. A member that is never counted, because its worker was lost or because recovery
or a user ended it, only delays the chord until it next wakes up by itself.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from kombu.utils.json import dumps, loads

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.log import get_logger
from jobclaim.workers import time_limits
from jobclaim.workers.messages import call, links
from jobclaim.workers.results import followups, header
from jobclaim.workers.submission.dispatch import publish

log = get_logger("jobclaim.chords")

LOOK_SECONDS: Final = 300
"""How often a chord checks its members by itself."""
SUFFIX: Final = ".chord"
MOST_PLAIN: Final = 50
"""Limit of plain members that a chord's job names; with more, all members are treated as plain tasks."""


def begin(app: Celery, group_id: str, results: list[Any], body: Any) -> None:
    """Write the chord's job, once even if the header is sent a second time."""
    arguments: dict[str, Any] = {"group_id": group_id, "body": _plain(body)}
    if plain := [leaf.id for leaf in header.leaves(results) if not header.is_job(leaf)]:
        arguments["plain"] = plain if len(plain) <= MOST_PLAIN else True
    text = dumps([result.as_tuple() for result in results])
    if len(text) <= header.INLINE:
        arguments["results"] = loads(text)
    else:
        arguments["sheets"] = header.write(app, group_id, text)
    app.tasks[links.CHORD_TASK].apply_async(
        kwargs=arguments, task_id=job_id_of(group_id), queue=_queue_of(app, body), countdown=LOOK_SECONDS
    )


def wake(app: Celery, group_id: str) -> None:
    """Make a chord check its members now; if the message is lost, the chord wakes up by itself later.

    A failed chord starts again when the member that failed it was repaired and all have succeeded.
    """
    try:
        job = app.jobclaim.repo.get_job(job_id_of(group_id))
        if job.status is JobStatus.FAILED and _all_succeeded(app, job):
            job = app.jobclaim.repo.retry_job(job.job_id)
            log.info("chord.repaired", **job.log_context())
        if job.status is JobStatus.PENDING:
            publish(app, job)
    except Exception as error:  # noqa: BLE001 - an error must not change the outcome of the last member
        log.warning("chord.not_notified", group_id=group_id, error=type(error).__name__)


def job_id_of(group_id: str) -> str:
    """Return the id of the job that is a chord."""
    return f"{group_id}{SUFFIX}"


def group_id_of(job_id: str) -> str:
    """Return the id of the group whose chord a job is."""
    return job_id.removesuffix(SUFFIX)


def fail_for(app: Celery, job: Job, error: BaseException) -> None:
    """Fail the body of a chord whose own job failed or was cancelled, because nothing else would."""
    if isinstance(error, ChordError):
        return  # `run_chord` has failed the body already
    _, arguments = call.from_payload(job.payload)
    failed = ChordError(f"The chord's own job {job.job_id} ended without starting the body: {error!r}")
    failed.__cause__ = error
    followups.fail(app, arguments["body"], failed)


def _all_succeeded(app: Celery, chord_job: Job) -> bool:
    _, arguments = call.from_payload(app.jobclaim.repo.large.value(chord_job.payload))
    members = header.read(app, arguments["group_id"], arguments.get("results"), arguments.get("sheets", 0))
    if members is None or header.not_ended(app, members):
        return False
    return all(member.successful() for member in header.leaves(members.results))


def _plain(body: Any) -> Any:
    """Return a signature as plain JSON values, as a payload needs them."""
    return loads(dumps(body))


def _queue_of(app: Celery, body: Any) -> str:
    """Return the queue of the chord's body, because that has workers; for a body of several tasks, the first one's."""
    first = maybe_signature(body, app=app)
    while (tasks := getattr(first, "tasks", None)) is not None:
        inner = list(getattr(tasks, "tasks", tasks))  # a chord's tasks are a group, and a group is a dict
        if not inner:
            return str(app.jobclaim.settings.default_queue)
        first = maybe_signature(inner[0], app=app)
    if queue := first.options.get("queue"):
        return str(getattr(queue, "name", queue))
    known = app.tasks.get(first.task)
    return time_limits.queue_of(known, app.jobclaim) if known else app.jobclaim.settings.queue_of(first.task)
