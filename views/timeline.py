"""A job's timeline, and why it waits now: pure functions of the job and the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.fleet.workers import WorkerRecord
from jobclaim.jobs import Attempt, Job, JobStatus
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import releases
from jobclaim.jobs.storage.pauses import Pauses
from jobclaim.settings import Settings
from jobclaim.views.holds import hold_in_words
from jobclaim.views.humane import clock_time, relative, span
from jobclaim.views.lasting import SLEEP, waits_in_words
from jobclaim.views.pauses import pause_in_words

NOTHING_PAUSED: Final = Pauses()


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An event of a job: when (epoch milliseconds), what, and by whom or why."""

    at: int
    what: str
    detail: str = ""


def timeline(job: Job) -> list[TimelineEntry]:
    """Return a job's events in order of time. Only the last ten attempts are recorded; earlier ones are missing."""
    moments = [TimelineEntry(job.created_at, "submitted", f"to queue {job.queue}")]
    for attempt in job.history:
        moments += _ended_attempt(attempt)
    moments += [TimelineEntry(one.at, f"{one.verb} by {one.by}", one.why) for one in job.decisions]
    moments += [TimelineEntry(step.at, f"step {step.name} finished", f"in {span(step.took_ms)}") for step in job.steps]
    moments += [
        TimelineEntry(wait.resumed_at, f"resumed: {wait.name}", f"by {wait.by}" if wait.by else "")
        for wait in job.waits
        if wait.resumed_at
    ]
    moments += _now(job)
    return sorted(moments, key=lambda moment: moment.at)


def is_overdue(job: Job, now: int) -> bool:
    """Check whether a job could have been claimed by now: then the records of the live workers show why it was not."""
    return job.status is JobStatus.PENDING and job.available_at <= now


def waiting_reason(
    job: Job,
    now: int,
    settings: Settings,
    pauses: Pauses = NOTHING_PAUSED,
    live: Sequence[WorkerRecord] | None = None,
) -> str:
    """Explain in one sentence what happens next, or why nothing does.

    Parameters
    ----------
    live : sequence of WorkerRecord, optional
        The live workers; ``None`` if they are not known.
    """
    if job.status is JobStatus.PENDING:
        if (pause := pauses.holding(job, now)) is not None:
            return f"Held: {pause_in_words(pause, now)}. It uses up no attempt meanwhile."
        return _why_pending(job, now, settings, live)
    if job.status is JobStatus.PROCESSING:
        left = job.lease_expires_at - now
        if left > 0:
            return f"Running in {job.worker_id or 'a worker'}; its lease ends in {span(left)}."
        then = "started again" if job.on_orphan == "retry" and job.attempts_left else "set to FAILED"
        unless = "unless it runs in a thread and its worker's heartbeat still names it"
        return (
            f"Its lease ended {span(-left)} ago: the next recovery pass finds an orphan, {unless}, and it will be "
            f"{then}."
        )
    if job.status is JobStatus.FAILED:
        return _why_failed(job, now)
    return "Nothing: it has ended."


def _why_failed(job: Job, now: int) -> str:
    if job.dead_state == DeadState.SCHEDULED:
        return f"Recovery starts it again {relative(job.retry_at, now)} ({clock_time(job.retry_at)})."
    if job.dead_state in (DeadState.RESOLVED, DeadState.ABANDONED):
        return f"Nothing: it is {job.dead_state}."
    command = f"`jobclaim retry {job.job_id}` starts it again"
    return f"Awaits action: {command}, `jobclaim dead resolve` or `jobclaim dead abandon` closes it."


def _why_pending(job: Job, now: int, settings: Settings, live: Sequence[WorkerRecord] | None) -> str:
    if (wait := job.waiting) is not None and wait.until > now:
        reason = waits_in_words(wait.name, wait.since, wait.until, now)
        then = "" if wait.name.startswith(SLEEP) else f" `jobclaim resume {job.job_id} {wait.name}` starts it again."
        return f"{reason[0].upper()}{reason[1:]}; no worker is held.{then}"
    if (held := releases.current(job)) is not None:
        reason = hold_in_words(held, advice=True)
        return f"{reason[0].upper()}{reason[1:]} {_when_pending(job, now, settings, live)}"
    return _when_pending(job, now, settings, live)


def _when_pending(job: Job, now: int, settings: Settings, live: Sequence[WorkerRecord] | None) -> str:
    if job.available_at > now:
        how = "its message waits in SQS" if job.dispatches else "recovery sends its message shortly before it is due"
        return f"Due {relative(job.available_at, now)} ({clock_time(job.available_at)}); {how}."
    waited = f"Due for {span(now - job.available_at)} and not claimed"
    if job.queue not in settings.queue_names:
        return f"{waited}: its queue {job.queue!r} is not in the settings, so its message cannot be sent."
    if live is not None and (lacking := _lacking(job.queue, live)):
        return f"{waited}: {lacking}."
    redispatched_at = max(job.available_at, job.dispatched_at) + round(
        settings.redispatch_delay(job.queue, max(1, job.dispatches)) * 1000
    )
    sent = f"{waited}: {job.dispatches} message{'' if job.dispatches == 1 else 's'} sent"
    if redispatched_at > now:
        return (
            f"{sent}, and a worker of queue {job.queue!r} will claim it; otherwise recovery sends another one "
            f"{relative(redispatched_at, now)}."
        )
    return f"{sent}, and another one is due: check that a worker listens to queue {job.queue!r} and that recovery runs."


def _lacking(queue: str, live: Sequence[WorkerRecord]) -> str:
    """Say why no worker takes a queue's next job now; empty if one could."""
    listening = [worker for worker in live if queue in worker.queues]
    if not listening:
        return f"no live worker listens to queue {queue!r}; `jobclaim worker run -q {queue}` starts one"
    taking = [worker for worker in listening if not worker.drain]
    if not taking:
        return f"every worker of queue {queue!r} is stopping; `jobclaim worker run -q {queue}` starts another one"
    processes = sum(worker.concurrency for worker in taking)
    if sum(min(len(worker.jobs), worker.concurrency) for worker in taking) < processes:
        return ""
    return f"all {processes} processes of queue {queue!r} are busy; `jobclaim queues --capacity` says how many it needs"


def _ended_attempt(attempt: Attempt) -> Iterator[TimelineEntry]:
    if attempt.claimed_at:
        yield TimelineEntry(
            attempt.claimed_at,
            f"attempt {attempt.attempt} claimed",
            _claim(attempt.worker_id, attempt.lease_expires_at),
        )
    if (released := releases.of_attempt(attempt)) is not None:
        yield TimelineEntry(attempt.ended_at, f"attempt {attempt.attempt} released, uncharged", hold_in_words(released))
        return
    detail = f"{attempt.failure.kind}: {attempt.failure.message}" if attempt.failure else ""
    yield TimelineEntry(attempt.ended_at, f"attempt {attempt.attempt} ended: {attempt.outcome}", detail)


def _now(job: Job) -> Iterator[TimelineEntry]:
    ended = {attempt.attempt for attempt in job.history}
    if job.attempt and job.attempt not in ended:
        yield TimelineEntry(
            job.claimed_at, f"attempt {job.attempt} claimed", _claim(job.worker_id, job.lease_expires_at)
        )
    if job.status is JobStatus.PENDING and job.dispatches > 1:
        yield TimelineEntry(job.dispatched_at, "dispatched again", f"message {job.dispatches} for this attempt")
    if job.finished_at:
        detail = f"{job.failure.kind}: {job.failure.message}" if job.failure else ""
        yield TimelineEntry(job.finished_at, str(job.status), detail)


def _claim(worker_id: str, lease_expires_at: int) -> str:
    return f"by {worker_id or 'unknown'}, lease until {clock_time(lease_expires_at)}"
