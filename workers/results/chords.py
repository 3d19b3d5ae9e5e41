"""Chords, and what follows from jobs that somebody else than their worker ended.

::

    chord(header, body)
      │ one job per chord, under the group's id: payload = ids of the header's results, and the body
      │ header tasks are sent
      ▼
    each member that ended, however it did, is counted on a note: a set of hashes, one write
      │ the last one sends the chord's message                     nobody did (a crash): it wakes up by itself
      ▼
    the chord's job is claimed ── all ended ──▶ results joined, body submitted under its fixed id; or the body fails
                               └─ some have not ──▶ snooze

Nothing here depends on a member counting exactly once: a set counts a retried or doubled one once, and the body, a job
with an id fixed before, exists once. A member that never counts, because its worker died in between, because recovery
or a person ended it, only delays the chord until it next wakes up by itself.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from celery import Celery
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import allow_join_result, result_from_tuple
from celery.states import READY_STATES

from jobclaim.jobs import Job, JobError, JobNotFound, JobStatus, OffloadLost
from jobclaim.jobs.log import get_logger
from jobclaim.workers import limits
from jobclaim.workers.results import links
from jobclaim.workers.results.meta import error_of, state_of
from jobclaim.workers.submission import call
from jobclaim.workers.submission.dispatch import publish, publish_if_due
from jobclaim.workers.task import JobTask

log = get_logger("jobclaim.chords")

CHORD_TASK: Final = "jobclaim.chord"
LOOK_SECONDS: Final = 300
"""How often a chord looks after its members by itself."""
PATIENCE: Final = 20
"""Attempts of the small jobs below: what they do may be done any number of times."""


class UpkeepTask(JobTask):
    """A small job of the framework's own, safe to repeat at any point."""

    abstract = True
    on_orphan = "retry"
    max_retries = PATIENCE
    default_retry_delay = 10
    autoretry_for = (JobError, OSError)


def begin(app: Celery, group_id: str, results: list[Any], body: Any) -> None:
    """Write the chord's job; it is found again, not written twice, where the header is sent a second time."""
    app.tasks[CHORD_TASK].apply_async(
        kwargs={"group_id": group_id, "results": [result.as_tuple() for result in results], "body": _plain(body)},
        task_id=job_id_of(group_id),
        queue=_queue_of(app, body),
        countdown=LOOK_SECONDS,
    )


def wake(app: Celery, group_id: str) -> None:
    """Have a chord look at its members now; a message that is lost is made up for when it wakes up by itself.

    A chord that failed is started again when the member that it failed for was repaired, and all have succeeded.
    """
    try:
        job = app.jobclaim.repo.get_job(job_id_of(group_id))
        if job.status is JobStatus.FAILED and _all_succeeded(app, job):
            job = app.jobclaim.repo.retry_job(job.job_id)
            log.info("chord repaired", **job.log_context())
        if job.status is JobStatus.PENDING:
            publish(app, job)
    except Exception as error:  # noqa: BLE001 - the member that came last has ended, whatever becomes of the message
        log.warning("chord not told, it looks by itself later", group_id=group_id, error=type(error).__name__)


def announce(app: Celery, job: Job) -> None:
    """Have a worker tell the links of a job that was ended in its worker's place; once per end of the job."""
    try:
        if told := links.announcement(app.jobclaim.repo, job):
            publish_if_due(app, told)
    except JobError as error:
        log.error("links not told", reason=str(error), **job.log_context())


def announce_late(app: Celery, refused: Job) -> None:
    """Announce a job whose claim was refused because its `expires` is over: the claim ended it, and told nobody."""
    if refused.status is JobStatus.CANCELLED and refused.start_by:
        announce(app, refused)


def job_id_of(group_id: str) -> str:
    """Id of the job that is a chord."""
    return f"{group_id}.chord"


def run_chord(self: Any, group_id: str, results: list[Any], body: Any) -> str:
    """Submit the body when every member has ended; fail it when one of them failed.

    Returns
    -------
    str
        Id of the body.

    Raises
    ------
    celery.exceptions.ChordError
        A member failed, or its result is gone from S3. The body's result has the same error; repair the member, and the
        body runs after all.
    """
    header = self.app.GroupResult(group_id, [result_from_tuple(result, self.app) for result in results])
    callback = maybe_signature(body, app=self.app)
    try:
        all_ended = _all_ended(self.app, header)
    except OffloadLost as error:
        _fail_body(self.app, callback, f"The result of a member is lost: {error!r}", error)
    if not all_ended:
        self.snooze(LOOK_SECONDS, reason="not all of its members have ended")
    try:
        with allow_join_result():
            values = header.join(propagate=True)
    except Exception as error:  # noqa: BLE001 - whatever the member raised
        _fail_body(self.app, callback, _blame(header, error), error)
    callback.apply_async((values,), parent_id=_last_of(header))
    return str(callback.id)


def tell_links(self: Any, job_id: str) -> str:
    """Tell a job's chord, chain and error callbacks that it failed or was cancelled."""
    try:
        job = self.app.jobclaim.repo.get_job(job_id)
    except JobNotFound:
        return "gone"
    if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        traceback = job.failure.traceback if job.failure else None
        self.app.backend.tell_links(
            job,
            error_of(job),
            traceback,
            call_errbacks=job.status is JobStatus.FAILED,
            state=state_of(job),
        )
    return str(job.status)


def _all_ended(app: Celery, header: Any) -> bool:
    """Read all members at once; results that were read need not be asked for again when they are joined."""
    leaves = list(_leaves(header))
    metas = app.backend.metas([leaf.id for leaf in leaves])
    for leaf in leaves:
        meta = metas.get(leaf.id)
        if meta is None or meta["status"] not in READY_STATES:
            return False
        leaf._maybe_set_cache(meta)
    return True


def _all_succeeded(app: Celery, chord_job: Job) -> bool:
    _, given = call.from_payload(chord_job.payload)
    header = app.GroupResult(given["group_id"], [result_from_tuple(result, app) for result in given["results"]])
    return _all_ended(app, header) and all(leaf.successful() for leaf in _leaves(header))


def _fail_body(app: Celery, callback: Any, message: str, cause: Exception) -> NoReturn:
    failed = ChordError(message)
    failed.__cause__ = cause
    app.backend.chord_error_from_stack(callback, exc=failed)
    raise failed from cause


def _leaves(result: Any) -> Any:
    for member in result.results:
        if hasattr(member, "results"):
            yield from _leaves(member)
        else:
            yield member


def _blame(header: Any, error: Exception) -> str:
    culprit = next((leaf.id for leaf in _leaves(header) if not leaf.successful()), "?")
    return f"Dependency {culprit} raised {error!r}"


def _last_of(header: Any) -> str | None:
    return next((leaf.id for leaf in reversed(list(_leaves(header)))), None)


def _plain(body: Any) -> Any:
    """A signature as plain JSON values: what a payload may be made of."""
    from kombu.utils.json import dumps, loads

    return loads(dumps(body))


def _queue_of(app: Celery, body: Any) -> str:
    """Where the body is to run there are workers; a body that is a chain or a group says it of its first task."""
    first = body
    while getattr(first, "tasks", None):
        first = maybe_signature(list(first.tasks)[0], app=app)  # noqa: RUF015 - a group's tasks may be a generator
    if queue := first.options.get("queue"):
        return str(getattr(queue, "name", queue))
    known = app.tasks.get(first.task)
    return limits.queue_of(known, app.jobclaim) if known else app.jobclaim.settings.queue_of(first.task)
