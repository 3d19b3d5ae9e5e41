"""The dead letters of one job table: find, count, group and act on them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from jobclaim.jobs import checks
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.errors import InvalidInput, JobError, JobUnreadable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import DeadState, Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery.dead.decisions import VERBS, Verb, retry, settle, state_of
from jobclaim.recovery.dead.filter import Filter
from jobclaim.recovery.dead.groups import Group, grouped
from jobclaim.recovery.handling import Send
from jobclaim.recovery.many import ActReport, act_on_each, pages, recorded

log = get_logger("jobclaim.recovery")

NO_SUCH_JOB: Final = "the job does not exist"
"""Reason for refusing an unknown id."""


class DeadLetters:
    """The dead letters of one job table.

    Parameters
    ----------
    send : callable, optional
        ``send(job, delay_seconds)`` publishes a retried job's message; default `jobclaim.workers.apps.send`.
    sleep, timer : callable
        Used to keep the rate.
    """

    def __init__(
        self,
        repo: JobRepo,
        *,
        send: Send | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repo = repo
        self._send = send
        self._sleep = sleep
        self._timer = timer

    def find(self, selection: Filter) -> Iterator[Job]:
        """Return the jobs that match, each shard oldest first, a page at a time."""
        for partition, by_failure in self._partitions(selection.states):
            for page in pages(self._repo.table, partition, (selection.until or None) if by_failure else None):
                found = self._repo.table.get_many([entry.job_id for entry in page])
                now = self._repo.clock()
                for entry in page:
                    job = found.get(entry.job_id)
                    if job is not None and not lifecycle.is_gone(job, now) and selection.fits(job):
                        yield job

    def count(self, selection: Filter) -> int:
        """Count the jobs that match."""
        return sum(1 for _ in self.find(selection))

    def waiting(self, *, at_most: int) -> int:
        """Count the jobs that await a person, up to a limit, from the index alone."""
        total = 0
        for shard in range(self._repo.table.shards):
            key = schema.closed_key(JobStatus.FAILED, shard)
            total += len(self._repo.table.entries(key, limit=max(1, at_most - total)))
            if total >= at_most:
                break
        return total

    def oldest(self) -> IndexEntry | None:
        """Return the index entry of the job that has awaited a person longest, with one small request per shard."""
        keys = [schema.closed_key(JobStatus.FAILED, shard) for shard in range(self._repo.table.shards)]
        firsts = [entry for key in keys for entry in self._repo.table.entries(key, limit=1)]
        return min(firsts, key=lambda entry: entry.at, default=None)

    def groups(self, selection: Filter) -> list[Group]:
        """Group them by their fingerprints, the largest group first. Memory grows with the groups, not the jobs."""
        return grouped(self.find(selection))

    def stats(self, selection: Filter, *, window_ms: int = 3_600_000) -> dict[str, Counter[str]]:
        """Count them by state, kind, task, queue, and by the window of time in which they failed."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in ("state", "kind", "task", "queue", "window")}
        for job in self.find(selection):
            counts["state"][state_of(job)] += 1
            counts["kind"][str(job.failure.kind) if job.failure else "?"] += 1
            counts["task"][job.task] += 1
            counts["queue"][job.queue] += 1
            counts["window"][str(job.finished_at // window_ms * window_ms)] += 1
        return counts

    def act(
        self,
        verb: Verb,
        selection: Filter | Sequence[str],
        *,
        by: str,
        reason: str = "",
        limit: int | None = None,
        rate: float | None = None,
        at: int | None = None,
        progress: Callable[[ActReport], None] | None = None,
        on_done: Callable[[str], object] | None = None,
    ) -> ActReport:
        """Retry, resolve or abandon all jobs that match, or jobs by id, in one conditional write each.

        A filter selects the jobs that have failed when this begins. A job that fails again meanwhile is left alone,
        even if its worker's clock is behind: each job is acted on once.

        Parameters
        ----------
        by, reason : str
            Stored with each job and in the audit trail.
        limit : int, optional
            Maximum number of jobs.
        rate : float, optional
            Maximum number of jobs per second.
        at : int, optional
            With ``retry`` only: earliest start of the jobs, epoch milliseconds; default: at once.
        progress : callable, optional
            Called with the report so far after each job.
        on_done : callable, optional
            Called with the id of each job as soon as it was acted on.

        Raises
        ------
        InvalidInput
            The action is unknown, or has a time and is not ``retry``, or the time is out of range.
        StoreUnavailable
            DynamoDB could not be read; actions before that stay, and a repetition continues with the rest.
        """
        if verb not in VERBS:
            raise InvalidInput(f"verb={verb!r} must be one of {VERBS}")
        if at is not None and verb != "retry":
            raise InvalidInput(f"at={at} is for retry only, {verb} takes effect at once; leave it out")
        start = checks.moment(at, "at", self._repo.clock())
        report = ActReport()
        with recorded(self._repo, verb, report, what=_words(selection), why=reason, by=by):
            act_on_each(
                self._selected(selection),
                lambda job_id, job: self._one(verb, job_id, job, by, reason, start, report),
                report,
                limit=limit,
                rate=rate,
                sleep=self._sleep,
                timer=self._timer,
                progress=progress,
                on_done=on_done,
            )
        return report

    def _selected(self, selection: Filter | Sequence[str]) -> Iterator[tuple[str, Job | None]]:
        if isinstance(selection, Filter):
            began = self._repo.clock()
            ended = replace(selection, until=max(min(selection.until or began, began), selection.since))
            yield from ((job.job_id, job) for job in self.find(ended) if not _was_decided(job, since=began))
            return
        for job_id in selection:
            yield job_id, None

    def _one(self, verb: Verb, job_id: str, job: Job | None, by: str, why: str, at: int, report: ActReport) -> None:
        try:
            job = job or self._repo.table.get(job_id)
        except JobUnreadable as error:
            report.refused.append((job_id, str(error)))
            return
        if job is None or lifecycle.is_gone(job, self._repo.clock()):
            report.refused.append((job_id, NO_SUCH_JOB))
            return
        if job.status is not JobStatus.FAILED:
            report.refused.append((job_id, f"it is {job.status}, not FAILED"))
            return
        if verb != "retry" and state_of(job) in (DeadState.RESOLVED, DeadState.ABANDONED):
            report.refused.append((job_id, f"it is already {state_of(job)}"))
            return
        try:
            after = (
                retry(self._repo, job, by=by, why=why, at=at)
                if verb == "retry"
                else settle(self._repo, job, verb, by=by, why=why)
            )
        except JobError as error:
            report.refused.append((job_id, str(error)))
            return
        if after is None:
            report.refused.append((job_id, "it changed meanwhile; look at it again"))
            return
        report.done += 1
        log.info("dead_letter.decided", verb=verb, **job.log_context())
        if verb == "retry":
            self._publish(after, report)

    def _publish(self, job: Job, report: ActReport) -> None:
        if not job.dispatches:
            return  # due too far ahead for SQS: recovery sends it in time
        delay = max(0, job.available_at - self._repo.clock()) / 1000
        try:
            if self._send is None:
                from jobclaim.workers import apps

                apps.send(self._repo.settings, job, delay)
            else:
                self._send(job, delay)
        except Exception as error:  # noqa: BLE001 - after any error the job is PENDING, and recovery sends it
            report.unsent += 1
            log.warning("message.not_sent", error=type(error).__name__, **job.log_context())

    def _partitions(self, states: Iterable[str]) -> list[tuple[str, bool]]:
        """List the index partitions of these states, each with whether it is ordered by the time of failure."""
        shards, chosen = range(self._repo.table.shards), set(states)
        keys: list[tuple[str, bool]] = []
        if DeadState.WAITING in chosen:
            keys += [(schema.closed_key(JobStatus.FAILED, shard), True) for shard in shards]
        if DeadState.SCHEDULED in chosen:
            keys += [(schema.retry_key(shard), False) for shard in shards]
        if chosen & {DeadState.RESOLVED, DeadState.ABANDONED}:
            keys += [(schema.concluded_key(shard), True) for shard in shards]
        return keys


def _was_decided(job: Job, *, since: int) -> bool:
    return any(decision.at >= since for decision in job.decisions)


def _words(selection: Filter | Sequence[str]) -> str:
    if not isinstance(selection, Filter):
        return " ".join(selection)
    names = ("task", "queue", "kind", "exception", "fingerprint", "since", "until")
    return " ".join(f"{name}={value}" for name in names if (value := getattr(selection, name)))
