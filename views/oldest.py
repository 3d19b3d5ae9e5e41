"""The oldest waiting and running job of each queue, the oldest dead letter and dead message, and whether it is late.

The thresholds follow from the settings: a queue's SLA, a claim's lease and its grace, and half of the time for which a
dead letter is kept. A run is too long past twice the 95th percentile of its task's last day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from jobclaim.fleet.statistics import TaskRuns
from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.recovery.dead.letters import DeadLetters
from jobclaim.settings import Settings
from jobclaim.specs.finding import Finding, ok, warn
from jobclaim.specs.plurals import counted
from jobclaim.views.humane import span
from jobclaim.views.queue_status import oldest_open
from jobclaim.views.unusual import FACTOR, FEWEST_FOR_P95

DAY_MS: Final = 86_400_000


def aged(repo: JobRepo, settings: Settings, tasks: Iterable[TaskRuns]) -> list[Finding]:
    """Read and judge what is oldest.

    Makes two requests for each queue and shard, and one for each shard of the dead letters.
    """
    now, usual = repo.clock(), usual_durations(tasks, repo.clock())
    found = [
        finding
        for name in settings.queue_names
        for finding in of_queue(name, oldest_open(repo, name)[0], settings, usual, now)
    ]
    letter = DeadLetters(repo).oldest()
    return [*found, *([_dead_letter(letter.job_id, now - letter.at, settings)] if letter else [])]


def usual_durations(tasks: Iterable[TaskRuns], now: int) -> dict[str, int]:
    """Return the 95th percentile of each task's last day, where enough runs completed."""
    days = {task.task: task.last_day(now) for task in tasks}
    return {
        name: p95
        for name, day in days.items()
        if sum(day.durations.values()) >= FEWEST_FOR_P95 and (p95 := day.duration(0.95)) is not None
    }


def of_queue(
    queue: str, jobs: Iterable[Job], settings: Settings, usual: Mapping[str, int], now: int
) -> Iterator[Finding]:
    """Judge a queue's longest-waiting job, and its running job that is furthest past its lease or has run longest."""
    jobs = list(jobs)
    waiting = [job for job in jobs if job.status is JobStatus.PENDING and job.available_at <= now]
    running = [job for job in jobs if job.status is JobStatus.PROCESSING]
    if waiting:
        yield _waiting(queue, min(waiting, key=lambda job: job.available_at), settings, now)
    if running:
        grace = settings.lease_grace_seconds * 1000
        late = [job for job in running if now > job.lease_expires_at + grace]
        slow = [job for job in running if job.task in usual and now - job.claimed_at > FACTOR * usual[job.task]]
        chosen = min(late or slow or running, key=lambda job: job.claimed_at)
        yield _running(queue, chosen, now, late=bool(late), usual=usual.get(chosen.task, 0) if slow else 0)


def dead_messages(queue: str, messages: int) -> Finding:
    """Report how many messages a dead-letter queue holds. `dead queue inspect` receives them and so can show their
    ages.
    """
    found = f"its dead-letter queue holds {counted(messages, 'message')}; SQS deletes them 14 days after they were sent"
    return warn(f"queue {queue}", found, f"`jobclaim dead queue inspect {queue}`, then redrive or discard them")


def _waiting(queue: str, job: Job, settings: Settings, now: int) -> Finding:
    subject, age, sla = f"oldest waiting job of {queue}", now - job.available_at, settings.queue(queue).sla_seconds
    found = f"waits for {span(age)} ({job.job_id}); the SLA is {sla:g} s"
    return warn(subject, found, f"`jobclaim show {job.job_id}` says why") if age > sla * 1000 else ok(subject, found)


def _running(queue: str, job: Job, now: int, *, late: bool, usual: int) -> Finding:
    subject, found = f"oldest running job of {queue}", f"runs for {span(now - job.claimed_at)} ({job.job_id})"
    if late:
        past = f"{found}, {span(now - job.lease_expires_at)} past the end of its lease"
        return warn(
            subject, past, "check that recovery runs; a worker with threads may still hold it: `jobclaim workers`"
        )
    if usual:
        return warn(
            subject,
            f"{found}; 95 % of the runs of {job.task} take {span(usual)} at most",
            f"`jobclaim show {job.job_id}`",
        )
    return ok(subject, found)


def _dead_letter(job_id: str, age: int, settings: Settings) -> Finding:
    subject, kept = "oldest dead letter", settings.dead_retention_days
    found = f"awaits a person for {span(age)} ({job_id}); dead letters are kept for {kept:g} days"
    remedy = "`jobclaim dead list --groups`, then retry, resolve or abandon them"
    return warn(subject, found, remedy) if age > kept * DAY_MS / 2 else ok(subject, found)
