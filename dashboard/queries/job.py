"""One job: its details, and the actions on it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.dashboard import redaction
from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.queries import fleet
from jobclaim.dashboard.queries.attempts import Held, attempts
from jobclaim.dashboard.queries.links import MOST, Links, links_of
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.services import Services
from jobclaim.fleet.workers import CANCEL, WorkerRecord
from jobclaim.jobs import Job, JobNotFound, JobStatus, checks
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.edits import Edits
from jobclaim.jobs.storage.pauses import Pause, Pauses
from jobclaim.recovery.dead import state_of
from jobclaim.settings import Settings
from jobclaim.views.holds import charged_in_words
from jobclaim.views.lasting import SLEEP, progress_in_words
from jobclaim.views.records import job_record
from jobclaim.views.timeline import NOTHING_PAUSED, TimelineEntry, is_overdue, timeline, waiting_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action on a job.

    Attributes
    ----------
    verb : str
        ``retry``, ``cancel``, ``resolve`` or ``abandon``.
    cli : str
        The equivalent command.
    why_not : str
        Why it is unavailable now; empty if it is available.
    danger : bool
        Whether it may lose work.
    """

    verb: str
    label: str
    description: str
    cli: str
    why_not: str = ""
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Result of a requested action: ``requested``, ``done`` or ``refused``."""

    state: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as its page shows it.

    Attributes
    ----------
    record : dict
        `jobclaim.views.records.job_record`, redacted as settings say.
    payload, result : JSON values
        Hidden values are masked; ``None`` if there is none.
    payload_in_s3, result_in_s3 : bool
    next : str
        What happens next, or why nothing does.
    worker_state : str
        State of a running job's worker: ``alive``, ``stopping``, ``dead`` or ``gone``; else empty.
    cancel_requested : bool
        Whether its worker has a request to cancel that it has not read yet.
    hidden : list of str
        What is hidden, and which setting shows it.
    progress : str
        Its progress as text; empty if it reported none.
    waits : list of str
        Names under which it can be resumed.
    pause : Pause, optional
        The pause that holds it.
    """

    record: dict[str, Any]
    payload: Any
    result: Any
    payload_in_s3: bool
    result_in_s3: bool
    next: str
    attempts: list[Held]
    timeline: list[TimelineEntry]
    links: Links
    actions: list[Action]
    worker_state: str
    cancel_requested: bool
    hidden: list[str]
    cli: str
    progress: str
    waits: list[str]
    pause: Pause | None


def budget(_: Settings) -> Budget:
    """Return the budget: the job and its edited retries, read consistently; its linked jobs; its worker's record, or
    the fleet if it waits. Each item at its largest.
    """
    return Budget(3 + fleet.PAGES, (2 + 1 + MOST) * HEAVIEST + fleet.BUDGET.read_units)


def read(services: Services, job_id: str) -> tuple[Job, JobView]:
    """Read one job.

    Raises
    ------
    JobNotFound, InvalidInput, StoreUnavailable
    """
    repo, now, settings = services.repo, services.clock(), services.settings
    job = repo.table.get(checks.text(job_id, "id"))
    if job is None or lifecycle.is_gone(job, now):
        raise JobNotFound(job_id)
    links = links_of(job, Edits.of(repo).around(job.job_id))
    running = job.status is JobStatus.PROCESSING and bool(job.worker_id)
    worker = services.fleet.get(job.worker_id) if running else None
    bound = repo.table.get_many(links.job_ids()) if links.job_ids() else {}
    known = fleet.read(services) if job.status is JobStatus.PENDING else fleet.Fleet()
    live = known.alive(now, settings.worker_dead_after_seconds) if is_overdue(job, now) else None
    return job, view(job, services.shown(job), worker, links.with_states(bound), now, settings, live, known.pauses)


def view(
    job: Job,
    shown: Job,
    worker: WorkerRecord | None,
    links: Links,
    now: int,
    settings: Settings,
    live: Sequence[WorkerRecord] | None = None,
    pauses: Pauses = NOTHING_PAUSED,
) -> JobView:
    """Build the page's data from what was read; ``shown`` is the redacted job."""
    cancel_requested = worker is not None and worker.commands.get(job.job_id) == CANCEL
    return JobView(
        record=job_record(shown, payload=True),
        payload=codec.plain(shown.payload),
        result=codec.plain(shown.result),
        payload_in_s3=is_mark(job.payload),
        result_in_s3=is_mark(job.result),
        next=waiting_reason(shown, now, settings, pauses, live),
        attempts=attempts(shown, now),
        timeline=timeline(shown),
        links=links,
        actions=actions(job),
        worker_state=_worker_state(job, worker, now, settings),
        cancel_requested=cancel_requested,
        hidden=redaction.hints(settings),
        cli=shlex.join(["jobclaim", "show", job.job_id]),
        progress=progress_in_words(shown.progress, now, bar=False) if shown.progress else "",
        waits=resumable(job),
        pause=pauses.holding(job, now) if job.status is JobStatus.PENDING else None,
    )


def resumable(job: Job) -> list[str]:
    """Return the names under which a job can be resumed, the one that it waits for first."""
    if not job.status.is_open:
        return []
    left = [wait.name for wait in job.waits if not (wait.resumed_at or wait.timed_out or wait.name.startswith(SLEEP))]
    return sorted(left, key=lambda name: name != job.waits_for)


def actions(job: Job) -> list[Action]:
    """Return all actions on jobs, each with the reason if it is unavailable for this job."""
    failed, state = job.status is JobStatus.FAILED, state_of(job)
    not_failed = "" if failed else f"Only a FAILED job can be; this one is {job.status}."
    settled = f"It is {state} already." if state in (DeadState.RESOLVED, DeadState.ABANDONED) else ""
    over = "" if job.status.is_open else f"It has ended: {job.status}."
    outside = job.status is JobStatus.PROCESSING and not job.worker_id
    nobody = "It runs outside a worker, so no worker can end it." if outside else ""
    why_not = {
        "retry": not_failed,
        "cancel": over or nobody,
        "resolve": not_failed or settled,
        "abandon": not_failed or settled,
    }
    return [
        Action(
            verb=verb,
            label=verb.capitalize(),
            description=description,
            cli=shlex.join(["jobclaim", *command.split(), job.job_id]),
            why_not=why_not[verb],
            danger=verb in ("cancel", "abandon"),
        )
        for verb, (command, description) in ACTIONS.items()
    ]


ACTIONS: Final = {
    "retry": ("retry", "Start it again, with its full number of attempts."),
    "cancel": ("cancel", "End it: at once while it waits, through its worker while it runs."),
    "resolve": ("dead resolve", "Mark its work as done, by hand or elsewhere."),
    "abandon": ("dead abandon", "Mark its work as no longer wanted."),
}
"""By verb: the equivalent command, and an explanation."""


def notice(action: str, job: Job, seen: JobView) -> Notice | None:
    """Return the result of a requested action, derived from the job; ``None`` for an unknown verb."""
    if action == "cancel":
        return _of_cancel(job, seen)
    if action == "retry":
        return _of_retry(job)
    if action in SUBMITTED:
        return Notice("done" if action != "existing" else "refused", SUBMITTED[action])
    if action == "resume":
        return Notice("requested", "Resumed: its body continues with the payload.")
    if action in SETTLED:
        if job.dead_state == SETTLED[action]:
            return Notice("done", f"Done: it is {job.dead_state}.")
        return Notice("refused", f"Not done: it is {job.status} {job.dead_state}.".replace(" .", "."))
    return None


SUBMITTED: Final = {
    "submit": "Submitted.",
    "edit": "Submitted as a new job, with the edited payload.",
    "edit-unchecked": "Submitted as a new job. Its task's code is not importable here, so its arguments are unchecked.",
    "edit-unresolved": "Submitted as a new job. The old one changed meanwhile and was not resolved.",
    "existing": "Nothing was submitted: this job of an equal call exists already.",
}
"""Notices on the page of a job that a form has led to."""
SETTLED: Final[Mapping[str, str]] = {"resolve": DeadState.RESOLVED, "abandon": DeadState.ABANDONED}


def _of_cancel(job: Job, seen: JobView) -> Notice:
    if job.status is JobStatus.CANCELLED:
        return Notice("done", "Done: it is cancelled; its body does not run and will not start.")
    if not job.status.is_open:
        return Notice("refused", f"Not cancelled: it was {job.status} before the request reached its worker.")
    if job.status is JobStatus.PENDING:
        return Notice("requested", "Requested, but its worker has released it, so it waits again. Cancel it once more.")
    if seen.cancel_requested:
        return Notice("requested", f"Requested: {job.worker_id} reads it with its next heartbeat.")
    return Notice("requested", f"Requested, and {job.worker_id} has read it: it stops the task after the grace period.")


def _of_retry(job: Job) -> Notice:
    if job.status is JobStatus.COMPLETED:
        return Notice("done", "Done: it was retried and completed.")
    if job.status is JobStatus.PROCESSING:
        charged = charged_in_words(job.charged, job.max_attempts)
        return Notice("requested", f"Retried: attempt {charged} runs in {job.worker_id or 'a worker'}.")
    if job.status is JobStatus.PENDING:
        return Notice("requested", "Requested: it is PENDING again and waits for a worker.")
    return Notice("refused", f"It is {job.status}: it was not retried, or has failed again since.")


def _worker_state(job: Job, worker: WorkerRecord | None, now: int, settings: Settings) -> str:
    if job.status is not JobStatus.PROCESSING or not job.worker_id:
        return ""
    if worker is None:
        return "gone"
    return worker.state(now, settings.worker_dead_after_seconds)
