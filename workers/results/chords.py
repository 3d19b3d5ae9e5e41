"""Chords, and what follows from jobs that somebody else than their worker ended.

::

    chord(header, body)
      │ one job per chord, under the group's id: payload = ids of the header's results, and the body
      │ header tasks are sent
      ▼
    each member that ended, however it did, is counted (`jobs.storage.members`): one write
      │ the last one sends the chord's message                     nobody did (a crash): it wakes up by itself
      ▼
    the chord's job is claimed ── all ended ──▶ results joined, body submitted under its fixed id; or the body fails
                               ├─ some have not ──▶ snooze
                               └─ one never will (`workers.results.waiting`), or the body is refused ──▶ the body fails

Nothing here depends on a member counting exactly once: a set counts a retried or doubled one once, and the body, a job
with an id fixed before, exists once. A member that never counts, because its worker died in between, because recovery
or a person ended it, only delays the chord until it next wakes up by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn

from celery import Celery
from celery.canvas import group, maybe_signature
from celery.exceptions import ChordError
from celery.result import allow_join_result, result_from_tuple
from celery.states import READY_STATES
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps, loads

from jobclaim.jobs import FailureKind, Job, JobError, JobNotFound, JobStatus, OffloadLost
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.notes import SEPARATOR, Kind
from jobclaim.workers import limits
from jobclaim.workers.results import followups, links, waiting
from jobclaim.workers.results.meta import error_of, state_of
from jobclaim.workers.submission import call
from jobclaim.workers.submission.dispatch import publish, publish_if_due
from jobclaim.workers.task import JobTask

log = get_logger("jobclaim.chords")

CHORD_TASK: Final = links.CHORD_TASK
LOOK_SECONDS: Final = 300
"""How often a chord looks after its members by itself."""
PATIENCE: Final = 20
"""Attempts of the small jobs below: what they do may be done any number of times."""
INLINE: Final = 20_000
"""Characters of a header that stand in the chord's job; each KB costs a write unit per move, so more goes to notes."""
SHEET: Final = 300_000
"""Characters of a header in one note: DynamoDB takes 400 KB."""
MOST_PLAIN: Final = 50
"""Plain members that a chord's job names; with more, all members are taken for such."""


class UpkeepTask(JobTask):
    """A small job of the framework's own, safe to repeat at any point."""

    abstract = True
    on_orphan = "retry"
    max_retries = PATIENCE
    default_retry_delay = 10
    autoretry_for = (JobError, OSError, OperationalError)
    failure_kinds: ClassVar[Mapping[Any, Any]] = {ChordError: FailureKind.PERMANENT}


def begin(app: Celery, group_id: str, results: list[Any], body: Any) -> None:
    """Write the chord's job; it is found again, not written twice, where the header is sent a second time."""
    told: dict[str, Any] = {"group_id": group_id, "body": _plain(body)}
    if plain := [leaf.id for leaf in _leaves(results) if not _is_job(leaf)]:
        told["plain"] = plain if len(plain) <= MOST_PLAIN else True
    text = dumps([result.as_tuple() for result in results])
    if len(text) <= INLINE:
        told["results"] = loads(text)
    else:
        told["sheets"] = _write_header(app, group_id, text)
    app.tasks[CHORD_TASK].apply_async(
        kwargs=told, task_id=job_id_of(group_id), queue=_queue_of(app, body), countdown=LOOK_SECONDS
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


def member_ids(results: list[Any]) -> list[str]:
    """Ids of the members of a header, those of groups in it among them."""
    return [leaf.id for leaf in _leaves(results)]


def run_chord(
    self: Any,
    group_id: str,
    body: Any,
    results: list[Any] | None = None,
    sheets: int = 0,
    plain: Sequence[str] | bool = (),
) -> str:
    """Submit the body when every member has ended; fail it when one of them failed, or will never end.

    Parameters
    ----------
    results : list, optional
        Results of the header; default: they are in ``sheets`` notes.
    plain : sequence of str, or bool
        Members that may be plain tasks; ``True`` for all.

    Returns
    -------
    str
        Id of the body.

    Raises
    ------
    celery.exceptions.ChordError
        A member failed, its result is gone, or the body was refused. The body's result has the same error; repair the
        member, and the body runs after all.
    """
    callback = maybe_signature(body, app=self.app)
    header = _header(self.app, group_id, results, sheets)
    if header is None:
        _fail_body(self.app, callback, "The list of its members has expired. Submit the chord again")
    try:
        missing = _not_ended(self.app, header)
    except OffloadLost as error:
        _fail_body(self.app, callback, f"The result of a member is lost: {error!r}", error)
    if missing:
        if lost := _lost(self, group_id, missing, plain):
            total = sum(1 for _ in _leaves(header.results))
            _fail_body(self.app, callback, waiting.explain(lost, total))
        self.snooze(LOOK_SECONDS, reason="not all of its members have ended")
    try:
        with allow_join_result():
            values = header.join(propagate=True)
    except Exception as error:  # noqa: BLE001 - whatever the member raised
        _fail_body(self.app, callback, _blame(header, error), error)
    _start_body(self.app, callback, values, _last_of(header))
    return str(callback.id)


def fail_for(app: Celery, job: Job, error: BaseException) -> None:
    """Fail the body of a chord whose own job failed or was cancelled: nobody else would."""
    if isinstance(error, ChordError):
        return  # by `run_chord`, which has done so
    _, given = call.from_payload(job.payload)
    failed = ChordError(f"The chord's own job {job.job_id} ended without starting the body: {error!r}")
    failed.__cause__ = error
    followups.fail(app, given["body"], failed)


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


def _start_body(app: Celery, callback: Any, values: list[Any], parent_id: str | None) -> None:
    try:
        with followups.submitting() as refused:
            callback.apply_async((values,), parent_id=parent_id)
    except followups.PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a task's own checks raise of arguments that do not fit it
        _fail_body(app, callback, f"Callback error: {error!r}", error)
    if refused:  # and has failed under its own id
        raise ChordError(f"Callback error: {refused[0]!r}") from refused[0]


def _not_ended(app: Celery, header: Any) -> list[Any]:
    """Read all members at once, and pick those without an end; others need not be asked for when they are joined."""
    leaves = list(_leaves(header.results))
    metas = app.backend.metas([leaf.id for leaf in leaves])
    missing = []
    for leaf in leaves:
        meta = metas.get(leaf.id)
        if meta is None or meta["status"] not in READY_STATES:
            missing.append(leaf)
        else:
            leaf._maybe_set_cache(meta)
    return missing


def _lost(self: Any, group_id: str, missing: Sequence[Any], plain: Sequence[str] | bool) -> list[str]:
    """Read what tells whether the missing members are to come: their jobs, those before them, and who was counted."""
    repo, notes = self.app.jobclaim.repo, self.app.backend.notes
    now, names = repo.clock(), [links.original_id(leaf.id) for leaf in missing]
    wanted = [*names, *(leaf.id for leaf in missing)]
    for leaf in missing:
        wanted += waiting.ancestors(leaf, job_id_of)
    jobs = repo.table.get_many(wanted, consistent=True)
    return waiting.lost(
        missing,
        {job_id: job for job_id, job in jobs.items() if not lifecycle.is_gone(job, now)},
        counted=notes.arrived(group_id, names),
        plain={leaf.id for leaf in missing} if plain is True else set(plain or ()),
        announced=notes.is_announced(group_id),
        begun_at=self.request.job.created_at,
        now=now,
        chord_job_id=job_id_of,
    )


def _all_succeeded(app: Celery, chord_job: Job) -> bool:
    _, given = call.from_payload(app.jobclaim.repo.large.value(chord_job.payload))
    header = _header(app, given["group_id"], given.get("results"), given.get("sheets", 0))
    return (
        header is not None and not _not_ended(app, header) and all(one.successful() for one in _leaves(header.results))
    )


def _write_header(app: Celery, group_id: str, text: str) -> int:
    """Write a header that has no room in the chord's job; give the number of its notes."""
    sheets = [text[start : start + SHEET] for start in range(0, len(text), SHEET)]
    for number, sheet in enumerate(sheets):
        app.backend.notes.put(Kind.HEADER, f"{group_id}{SEPARATOR}{number}", sheet, seconds=app.backend.kept_seconds())
    return len(sheets)


def _header(app: Celery, group_id: str, results: list[Any] | None, sheets: int) -> Any:
    if results is None:
        found = [app.backend.notes.get(Kind.HEADER, f"{group_id}{SEPARATOR}{number}") for number in range(sheets)]
        if None in found:
            return None
        results = loads("".join(map(str, found)))
    return app.GroupResult(group_id, [result_from_tuple(result, app) for result in results])


def _fail_body(app: Celery, callback: Any, message: str, cause: BaseException | None = None) -> NoReturn:
    failed = ChordError(message)
    failed.__cause__ = cause
    # Celery tells a body that is a group the member's own error
    followups.fail(app, callback, cause if cause is not None and isinstance(callback, group) else failed)
    raise failed from cause


def _is_job(result: Any) -> bool:
    """Whether a result, and all that comes before it, is known to be a job's."""
    if hasattr(result, "results"):
        own = all(_is_job(member) for member in result.results)
    else:
        own = getattr(result, "is_job", False)
    return own and (result.parent is None or _is_job(result.parent))


def _leaves(results: Any) -> Iterator[Any]:
    for member in results:
        if hasattr(member, "results"):
            yield from _leaves(member.results)
        else:
            yield member


def _blame(header: Any, error: Exception) -> str:
    culprit = next((leaf.id for leaf in _leaves(header.results) if not leaf.successful()), "?")
    return f"Dependency {culprit} raised {error!r}"


def _last_of(header: Any) -> str | None:
    return next((leaf.id for leaf in reversed(list(_leaves(header.results)))), None)


def _plain(body: Any) -> Any:
    """A signature as plain JSON values: what a payload may be made of."""
    return loads(dumps(body))


def _queue_of(app: Celery, body: Any) -> str:
    """Where the body is to run there are workers; a body of several tasks says it of its first one."""
    first = maybe_signature(body, app=app)
    while (tasks := getattr(first, "tasks", None)) is not None:
        inner = list(getattr(tasks, "tasks", tasks))  # of a chord they are a group, and a group is a dict
        if not inner:
            return str(app.jobclaim.settings.default_queue)
        first = maybe_signature(inner[0], app=app)
    if queue := first.options.get("queue"):
        return str(getattr(queue, "name", queue))
    known = app.tasks.get(first.task)
    return limits.queue_of(known, app.jobclaim) if known else app.jobclaim.settings.queue_of(first.task)
