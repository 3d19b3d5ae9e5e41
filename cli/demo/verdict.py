"""The verdict: figures for the table, and guarantees that each hold or fail, from the evidence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from jobclaim.cli.demo.ledger import Evidence
from jobclaim.jobs import JobStatus

SHOWN: Final = 3
"""Most offending jobs that a failed guarantee names."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A guarantee of jobclaim, and whether the evidence confirms it."""

    promise: str
    held: bool
    finding: str


Check: TypeAlias = Callable[[Evidence], Verified]


def judge(evidence: Evidence) -> list[Verified]:
    """Check every guarantee."""
    return [check(evidence) for check in CHECKS]


def figures(evidence: Evidence) -> dict[str, int]:
    """Count what happened, in the order of the table."""
    jobs = evidence.jobs.values()
    runs = evidence.runs()
    attempts = sorted({attempt for _, attempt in runs})
    return {
        "submitted": len(evidence.submitted),
        "claimed": sum(job.attempt for job in jobs),
        "duplicates injected": sum(evidence.duplicates.values()),
        "claims refused": sum(evidence.refusals.values()),
        "orphaned": sum(_orphaned(evidence, job_id) for job_id in evidence.jobs),
        "re-dispatched": sum(max(0, job.dispatches - 1) for job in jobs),
        "completed": sum(job.status is JobStatus.COMPLETED for job in jobs),
        **{
            f"bodies run in attempt {attempt}": sum(runs[key] for key in runs if key[1] == attempt)
            for attempt in attempts
        },
        "most bodies in one attempt": max(runs.values(), default=0),
    }


def all_submitted(evidence: Evidence) -> Verified:
    """Check that every id that a submitter received is a job in DynamoDB."""
    missing = [job_id for job_id in evidence.submitted if job_id not in evidence.jobs]
    stored = len(set(evidence.submitted)) - len(missing)
    held = not missing and stored == evidence.wanted_jobs
    return Verified("Every submitted job is stored", held, f"{stored} of {evidence.wanted_jobs}{_named(missing)}")


def once_per_attempt(evidence: Evidence) -> Verified:
    """Check that an attempt's body starts at most once, and never without a claim."""
    runs = evidence.runs()
    twice = [f"{job_id} attempt {attempt}" for (job_id, attempt), times in runs.items() if times > 1]
    unclaimed = [
        f"{job_id} attempt {attempt}"
        for job_id, attempt in runs
        if job_id not in evidence.jobs or attempt > evidence.jobs[job_id].attempt
    ]
    held = bool(runs) and not twice and not unclaimed
    return Verified(
        "At most one body run per attempt",
        held,
        f"{len(evidence.bodies)} bodies in {len(runs)} attempts"
        + _named(twice, "twice")
        + _named(unclaimed, "without a claim"),
    )


def none_open(evidence: Evidence) -> Verified:
    """Check that no job is left PENDING or PROCESSING."""
    left = [job.job_id for job in evidence.jobs.values() if job.status.is_open]
    return Verified("No job is left open", bool(evidence.jobs) and not left, f"{len(left)} open{_named(left)}")


def all_completed(evidence: Evidence) -> Verified:
    """Check that every job is COMPLETED with the result of its last attempt."""
    undone = [job.job_id for job in evidence.jobs.values() if job.status is not JobStatus.COMPLETED]
    stale = [
        job.job_id
        for job in evidence.jobs.values()
        if job.status is JobStatus.COMPLETED and (job.result or {}).get("attempt") != job.attempt
    ]
    done = len(evidence.jobs) - len(undone)
    return Verified(
        "Every job completed by its last attempt",
        done == evidence.wanted_jobs and not undone and not stale,
        f"{done} of {evidence.wanted_jobs}{_named(undone, 'not completed')}{_named(stale, 'stale result')}",
    )


def duplicates_refused(evidence: Evidence) -> Verified:
    """Check that each copy of a message in SQS was received by a worker and refused."""
    injected = sum(evidence.duplicates.values())
    accepted = [job_id for job_id, copies in evidence.duplicates.items() if evidence.refusals[job_id] < copies]
    held = injected == evidence.wanted_duplicates and not accepted
    refused = sum(min(copies, evidence.refusals[job_id]) for job_id, copies in evidence.duplicates.items())
    return Verified("Every duplicate message was refused", held, f"{refused} of {injected}{_named(accepted)}")


def orphans_recovered(evidence: Evidence) -> Verified:
    """Check that the killed worker's jobs were recovered and completed by another worker in a second attempt."""
    failed = [job_id for job_id in evidence.orphans if not _recovered(evidence, job_id)]
    held = bool(evidence.orphans) and not failed
    found = len(evidence.orphans) - len(failed)
    return Verified(
        "Killed worker's jobs done in attempt 2",
        held,
        f"{found} of {len(evidence.orphans)}{_named(failed)}",
    )


def lost_message_found(evidence: Evidence) -> Verified:
    """Check that the job whose message was deleted was redispatched and completed in its first attempt."""
    job = evidence.jobs.get(evidence.lost)
    if job is None:
        return Verified(LOST, False, f"job {evidence.lost!r} is gone")
    held = job.status is JobStatus.COMPLETED and job.attempt == 1 and job.dispatches > 1
    return Verified(LOST, held, f"{job.dispatches} messages, {job.status} in attempt {job.attempt}")


def several_workers(evidence: Evidence) -> Verified:
    """Check that claims were contested: more than one worker, and more than one process, ran bodies."""
    workers = Counter(body.worker for body in evidence.bodies)
    pids = {body.pid for body in evidence.bodies}
    return Verified(
        "Several workers shared the jobs",
        len(workers) > 1,
        f"{len(workers)} workers with {len(pids)} processes ran bodies",
    )


def queues_empty(evidence: Evidence) -> Verified:
    """Check that no message is left in any queue or dead-letter queue."""
    left = {queue: count for queue, count in evidence.messages_left.items() if count}
    held = bool(evidence.messages_left) and not left
    return Verified(
        "No message is left over",
        held,
        ", ".join(f"{queue}: {count}" for queue, count in left.items()) or "all queues empty",
    )


LOST: Final = "Lost message sent again, job done"
CHECKS: Final[tuple[Check, ...]] = (
    all_submitted,
    once_per_attempt,
    duplicates_refused,
    orphans_recovered,
    lost_message_found,
    all_completed,
    none_open,
    several_workers,
    queues_empty,
)


def _orphaned(evidence: Evidence, job_id: str) -> int:
    return sum(attempt.outcome.startswith("orphan") for attempt in evidence.jobs[job_id].history)


def _recovered(evidence: Evidence, job_id: str) -> bool:
    job = evidence.jobs.get(job_id)
    if job is None or job.status is not JobStatus.COMPLETED or job.attempt < 2 or not _orphaned(evidence, job_id):
        return False
    second = [body for body in evidence.bodies if body.job_id == job_id and body.attempt == job.attempt]
    return bool(second) and all(body.worker_pid != evidence.killed_pid for body in second)


def _named(offenders: Iterable[str], how: str = "not so") -> str:
    names = list(offenders)
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; {how}: {', '.join(names[:SHOWN])}{more}"
