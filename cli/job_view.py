"""Details of one job, drawn for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from jobclaim.cli.job_columns import STYLES
from jobclaim.cli.output import cell
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jobclaim.cli.session import Session
    from jobclaim.jobs.storage.edits import Edited


def show_job(
    console: Console, job: Job, session: Session, *, payload: bool = False, edited: Edited | None = None
) -> None:
    """Draw a job and, for one that is due, why no worker has claimed it."""
    now = session.now()
    live = _live_workers(session) if is_overdue(job, now) else None
    then = waiting_reason(job, now, session.settings, session.repo.pauses.current(), live)
    draw_job(console, job, then, now=now, payload=payload, edited=edited)


def draw_job(
    console: Console, job: Job, then: str, *, now: int, payload: bool = False, edited: Edited | None = None
) -> None:
    """Print the job's fields, the text ``then`` about what happens next, its timeline and, for a failure, the
    traceback.

    ``edited`` names its edited retries.
    """
    console.print(_fields(job, then, now, payload, edited))
    console.print(_timeline(job, now))
    if job.failure and job.failure.traceback:
        console.print(cell(job.failure.traceback.rstrip(), style="dim"))


def _live_workers(session: Session) -> list[WorkerRecord] | None:
    """Read the live workers; ``None`` for a user who may not read the fleet table."""
    try:
        return FleetRecords.of(session.repo).live(session.settings.worker_dead_after_seconds)
    except (StoreUnavailable, ClientError):
        return None


def _fields(job: Job, then: str, now: int, payload: bool, edited: Edited | None) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    rows = [
        ("job", cell(job.job_id)),
        ("task", cell(job.task)),
        ("queue", cell(job.queue)),
        ("status", cell(str(job.status), style=STYLES[job.status])),
        ("next", cell(then)),
        (
            "attempts",
            cell(
                f"{charged_in_words(job.charged, job.max_attempts)} charged, {job.attempt} claimed; "
                f"an orphan will {job.on_orphan}"
            ),
        ),
        *_progress(job, now),
        ("created", cell(f"{clock_time(job.created_at)} ({relative(job.created_at, now)})")),
    ]
    known = {
        "edited from": edited.edited_from if edited else "",
        "edited as": ", ".join(edited.edited_as) if edited else "",
        "tags": ", ".join(job.tags),
        "key": job.idempotency_key,
    }
    rows += [(name, cell(value)) for name, value in known.items() if value]
    if (failure := releases.last_failure(job)) is not None:
        what = f"{failure.kind} {failure.exception}: {failure.message}".replace(" :", ":")
        rows.append(("last failure" if job.status.is_open else "failure", cell(what, style="red")))
    if job.result is not None:
        rows.append(("result", cell(compact(codec.plain(job.result)))))
    if payload:
        rows.append(("payload", cell(compact(codec.plain(job.payload)))))
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def _progress(job: Job, now: int) -> list[tuple[str, Text]]:
    """Return a job's progress, if its body reported any, and the writes that were made with its completion."""
    rows = [("effects", cell(effects_in_words(job)))] if job.effects else []
    if job.progress is None:
        return rows
    title = "progress" if job.told else f"progress of attempt {job.progress.attempt}"
    return [(title, cell(progress_in_words(job.progress, now))), *rows]


def _timeline(job: Job, now: int) -> Table:
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("when", "", "what", "detail"):
        drawn.add_column(title, overflow="fold")
    for moment in timeline(job):
        drawn.add_row(
            clock_time(moment.at), cell(relative(moment.at, now), style="dim"), cell(moment.what), cell(moment.detail)
        )
    return drawn
