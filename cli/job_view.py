"""Details of one job, drawn for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from jobclaim.cli.drawing import Drawn, cell, grid, stacked
from jobclaim.cli.job_columns import STYLES
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job, StoreUnavailable
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.protocol import releases
from jobclaim.views.holds import charged_in_words
from jobclaim.views.humane import clock_time, relative
from jobclaim.views.lasting import effects_in_words, progress_in_words
from jobclaim.views.records import compact
from jobclaim.views.timeline import is_overdue, timeline, waiting_reason

if TYPE_CHECKING:
    from jobclaim.cli.session import Session
    from jobclaim.jobs.storage.edits import Edited


def show_job(job: Job, session: Session, *, payload: bool = False, edited: Edited | None = None) -> Drawn:
    """Draw a job and, for one that is due, why no worker has claimed it."""
    now = session.now()
    live = _live_workers(session) if is_overdue(job, now) else None
    then = waiting_reason(job, now, session.settings, session.repo.pauses.current(), live)
    return draw_job(job, then, now=now, payload=payload, edited=edited)


def draw_job(job: Job, then: str, *, now: int, payload: bool = False, edited: Edited | None = None) -> Drawn:
    """Draw the job's fields, the text ``then`` about what happens next, its timeline and, for a failure, the
    traceback.

    ``edited`` names its edited retries.
    """
    parts = [_fields(job, then, now, payload, edited), "", _timeline(job, now)]
    if job.failure and job.failure.traceback:
        parts += ["", cell(job.failure.traceback.rstrip(), "dim")]
    return stacked(*parts)


def _live_workers(session: Session) -> list[WorkerRecord] | None:
    """Read the live workers; ``None`` for a user who may not read the fleet table."""
    try:
        return FleetRecords.of(session.repo).live(session.settings.worker_dead_after_seconds)
    except (StoreUnavailable, ClientError):
        return None


def _fields(job: Job, then: str, now: int, payload: bool, edited: Edited | None) -> Drawn:
    attempts = (
        f"{charged_in_words(job.charged, job.max_attempts)} charged, {job.attempt} claimed; "
        f"an orphan will {job.on_orphan}"
    )
    rows = [
        ("job", job.job_id),
        ("task", job.task),
        ("queue", job.queue),
        ("status", cell(str(job.status), STYLES[job.status])),
        ("next", then),
        ("attempts", attempts),
        *_progress(job, now),
        ("created", f"{clock_time(job.created_at)} ({relative(job.created_at, now)})"),
    ]
    known = {
        "edited from": edited.edited_from if edited else "",
        "edited as": ", ".join(edited.edited_as) if edited else "",
        "tags": ", ".join(job.tags),
        "key": job.idempotency_key,
    }
    rows += [(name, value) for name, value in known.items() if value]
    if (failure := releases.last_failure(job)) is not None:
        what = f"{failure.kind} {failure.exception}: {failure.message}".replace(" :", ":")
        rows.append(("last failure" if job.status.is_open else "failure", cell(what, "red")))
    if job.result is not None:
        rows.append(("result", compact(codec.plain(job.result))))
    if payload:
        rows.append(("payload", compact(codec.plain(job.payload))))
    return grid([(cell(name, "dim"), value) for name, value in rows], whole={0})


def _progress(job: Job, now: int) -> list[tuple[str, str]]:
    """Return a job's progress, if its body reported any, and the writes that were made with its completion."""
    rows = [("effects", effects_in_words(job))] if job.effects else []
    if job.progress is None:
        return rows
    title = "progress" if job.told else f"progress of attempt {job.progress.attempt}"
    return [(title, progress_in_words(job.progress, now)), *rows]


def _timeline(job: Job, now: int) -> Drawn:
    return grid(
        [
            (clock_time(moment.at), cell(relative(moment.at, now), "dim"), moment.what, moment.detail)
            for moment in timeline(job)
        ],
        titles=("when", "", "what", "detail"),
        whole={0, 1},
    )
