"""Consistency of table, fleet and queues: a bounded check that changes nothing, unlike `jobclaim audit --reconcile`.

The audit receives every message to look inside, which counts as a delivery; this page only compares what can be read:
the oldest open jobs of each queue, the jobs that workers report as running, and SQS's message counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import fleet, opened, queues
from jobclaim.dashboard.queries.fleet import Fleet
from jobclaim.dashboard.queries.opened import Opened
from jobclaim.dashboard.queries.queues import QueuesView
from jobclaim.dashboard.services import Services
from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.settings import Settings
from jobclaim.specs.finding import Finding
from jobclaim.views.humane import span

SETTLES_MS: Final = 30_000
"""How long parts of the system may differ: heartbeats, deliveries and index entries take time."""
RECOVERY_LATE_MS: Final = 180_000
"""Time without a recovery pass after which this needs attention."""


@dataclass(frozen=True, slots=True)
class Balance:
    """A queue's jobs in the table and messages in SQS. ``differs`` describes the inconsistency, if any."""

    queue: str
    waiting: int
    later: int
    running: int
    more: bool
    visible: int | None
    in_flight: int | None
    delayed: int | None
    differs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileView:
    """Result of the check.

    Attributes
    ----------
    jobs : int
        Open jobs that were compared.
    recovered_at : int
        Last recovery pass, epoch milliseconds; 0 for never.
    """

    findings: tuple[Finding, ...]
    balances: tuple[Balance, ...]
    jobs: int
    workers: int
    recovered_at: int
    recovery_late: bool
    checks: Mapping[str, str]


CHECKS: Final[Mapping[str, str]] = {
    "lease-over": "A running job's lease has ended, and recovery has not handled it.",
    "worker-gone": "A running job's worker is lost or has no record.",
    "not-run": "A job is claimed by a live worker whose heartbeat does not name it.",
    "no-message": "A job is due and its message was sent, but its queue in SQS is empty.",
    "not-sent": "A job is overdue, and its message is missing for longer than recovery takes to send one.",
    "double-run": "One attempt ended twice, which must never happen.",
    "no-queue": "A queue of the settings does not exist in SQS.",
}
"""The checks."""


def budget(settings: Settings) -> Budget:
    """Return the budget: the page of queues, and a second set of items, the oldest jobs whether they wait or run."""
    return queues.budget(settings) + opened.budget(settings, len(settings.queues))


def read(services: Services, meter: Meter) -> ReconcileView:
    """Read and compare table, fleet and queues. Raises `StoreUnavailable`."""
    return services.shared.get("reconcile", lambda: _read(services, meter))


def _read(services: Services, meter: Meter) -> ReconcileView:
    settings, now = services.settings, services.clock()
    known = queues.read(services, meter)
    seen = fleet.read(services)
    oldest = opened.look(services, meter, list(settings.queue_names), oldest_first)
    return view(oldest, known, seen, settings, now)


def oldest_first(entries: Sequence[IndexEntry]) -> list[str]:
    """Select the oldest jobs, whatever their state."""
    return [entry.job_id for entry in entries]


def view(oldest: Mapping[str, Opened], known: QueuesView, seen: Fleet, settings: Settings, now: int) -> ReconcileView:
    """Build the page's data from what was read. Pure."""
    jobs = [job for one in oldest.values() for job in one.jobs.values() if job.status.is_open]
    empty = frozenset(
        queue.name for queue in known.queues if queue.depth.visible == queue.depth.in_flight == queue.depth.delayed == 0
    )
    found = [one for job in jobs for one in judge(job, seen, empty, settings, now)]
    found += [
        Finding("no-queue", queue.name, f"queue {queue.name}", 0, "does not exist in SQS", "create it: jobclaim up")
        for queue in known.queues
        if queue.state == "missing"
    ]
    late = bool(seen.evaluated_at) and now - seen.evaluated_at > _silence_ms(settings)
    return ReconcileView(
        findings=tuple(sorted(found)),
        balances=tuple(_balance(queue) for queue in known.queues),
        jobs=len(jobs),
        workers=len(seen.alive(now, settings.worker_dead_after_seconds)),
        recovered_at=seen.evaluated_at,
        recovery_late=late or not seen.evaluated_at,
        checks=CHECKS,
    )


def _silence_ms(settings: Settings) -> int:
    return max(RECOVERY_LATE_MS, 3000 * (settings.alert_interval_seconds + settings.recovery_interval_seconds))


def judge(job: Job, seen: Fleet, empty: frozenset[str], settings: Settings, now: int) -> Iterator[Finding]:
    """Find inconsistencies of an open job. Pure.

    Parameters
    ----------
    empty : frozenset of str
        Queues for which SQS counts no messages.
    """
    ended = Counter(attempt.attempt for attempt in job.history if attempt.claimed_at)
    for attempt, times in ended.items():
        if times > 1:
            yield _finding(
                "double-run", job, f"attempt {attempt} ended {times} times", "a bug: please report it with this job"
            )
    if job.status is JobStatus.PROCESSING:
        yield from _of_running(job, seen, settings, now)
    elif job.available_at <= now:
        yield from _of_waiting(job, empty, settings, now)


def _of_running(job: Job, seen: Fleet, settings: Settings, now: int) -> Iterator[Finding]:
    over = now - job.lease_expires_at
    living = seen.alive(now, settings.worker_dead_after_seconds)
    if over > SETTLES_MS and job.claim_token not in {token for one in living for token in one.claims or ()}:
        fix = "the next recovery pass handles it; check that recovery runs, or run jobclaim recover"
        yield _finding("lease-over", job, f"runs, but its lease ended {span(over)} ago", fix)
        return
    if not job.worker_id or now - job.claimed_at < SETTLES_MS:
        return
    workers = {one.worker_id: one for one in living}
    worker = workers.get(job.worker_id)
    if worker is None:
        fix = "recovery handles it within about a minute; if it stays, check that recovery runs"
        yield _finding("worker-gone", job, f"runs in {job.worker_id}, which is lost or deregistered", fix)
    elif job.job_id not in worker.jobs and worker.seen_at > job.claimed_at + SETTLES_MS:
        fix = "its outcome may not have been recorded; recovery handles it when its lease has ended"
        yield _finding("not-run", job, f"is claimed by {job.worker_id}, whose heartbeat does not name it", fix)


def _of_waiting(job: Job, empty: frozenset[str], settings: Settings, now: int) -> Iterator[Finding]:
    if job.queue not in settings.queue_names:
        return
    sent_at = max(job.available_at, job.dispatched_at)
    patience = round(settings.redispatch_delay(job.queue, max(1, job.dispatches)) * 1000)
    if not job.dispatches and now - job.available_at > patience:
        fix = "recovery sends it; check that recovery runs, or run jobclaim recover"
        yield _finding("not-sent", job, f"is due for {span(now - job.available_at)} and has no message", fix)
    elif job.dispatches and job.queue in empty and now - sent_at > SETTLES_MS:
        fix = f"its message was lost; recovery sends another one {span(max(0, sent_at + patience - now))} from now"
        yield _finding("no-message", job, f"is due for {span(now - job.available_at)}, and its queue is empty", fix)


def _balance(queue: queues.QueueView) -> Balance:
    depth, differs = queue.depth, depth_words(queue)
    return Balance(
        queue=queue.name,
        waiting=queue.waiting,
        later=queue.later,
        running=queue.running,
        more=queue.more,
        visible=depth.visible,
        in_flight=depth.in_flight,
        delayed=depth.delayed,
        differs=differs,
    )


def depth_words(queue: queues.QueueView) -> str:
    """Describe an inconsistency between a queue's jobs and messages; both counts are approximate."""
    depth = queue.depth
    if depth.visible is None or depth.in_flight is None or depth.delayed is None:
        return depth.problem
    messages = depth.visible + depth.in_flight
    if queue.waiting and not messages:
        return f"{queue.waiting} jobs wait, but SQS counts no messages"
    if not queue.more and messages > 2 * (queue.waiting + queue.running) + 20:
        return f"{messages} messages for {queue.waiting} waiting jobs: duplicates, or messages of another sender"
    return ""


def _finding(check: str, job: Job, problem: str, fix: str) -> Finding:
    return Finding(check, job.job_id, f"queue {job.queue}", 0, problem, fix)
