"""Cancel open jobs by a filter: find, count and cancel them.

::

    cancels = Cancels(repo)
    cancels.act(OpenJobs(queues=("reports",), what="queue=reports"), by="ada", reason="sent twice", rate=100)

The jobs are those that were submitted by the time at which this begins, and the index is read up to the last entry that
it has then, a hundred jobs in two requests. Each cancellation is one conditional write on what was read. What was
cancelled is not found again, so a cancellation that was killed can be repeated, and continues with the rest.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from jobclaim.fleet.workers import FleetRecords
from jobclaim.jobs.errors import JobError, StoreUnavailable
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import JobRepo
from jobclaim.jobs.storage.listing import state_keys
from jobclaim.recovery.handling import Send
from jobclaim.recovery.many import PAGE, ActReport, act_on_each, pages, recorded
from jobclaim.workers.cancel import BY_A_PERSON, Answer, cancel, cancelled_by

COUNTED: Final = 10_000
"""Jobs that a preview looks at."""
SAMPLE: Final = 5
"""Ids that a preview names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJobs:
    """Selects open jobs.

    Attributes
    ----------
    what : str
        The selection in words, for the audit trail.
    states : tuple of JobStatus
        PENDING jobs are cancelled at once; the workers of PROCESSING ones are asked to end them.
    queues : tuple of str
        Empty for all queues of the settings.
    submitted_before : int
        Epoch milliseconds, inclusive; 0 for the time at which the cancellation begins.
    fits : callable
        Returns whether a job matches all other criteria.
    """

    what: str
    states: tuple[JobStatus, ...] = (JobStatus.PENDING,)
    queues: tuple[str, ...] = ()
    submitted_before: int = 0
    fits: Callable[[Job], bool] = field(default=lambda _: True, compare=False)


@dataclass(frozen=True, slots=True)
class Preview:
    """The jobs that match now.

    Attributes
    ----------
    complete : bool
        Whether all open jobs of the queues were looked at.
    groups : Counter
        Numbers of jobs by task, queue and status.
    sample : tuple of str
        Ids of some of them.
    """

    count: int
    complete: bool
    groups: Counter[tuple[str, str, str]]
    sample: tuple[str, ...]


@dataclass(slots=True)
class CancelReport(ActReport):
    """The report of a cancellation; ``requested`` of the ``done`` jobs are running, and their workers were asked to end
    them.
    """

    requested: int = 0


class Cancels:
    """The open jobs of one job table.

    Parameters
    ----------
    send : callable, optional
        ``send(job, delay_seconds)`` publishes the message that notifies a job's links; default: through an app with the
        repo's settings.
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
        self._send = partial(_at_once, send) if send is not None else None
        self._sleep = sleep
        self._timer = timer

    def ending(self, selection: OpenJobs) -> OpenJobs:
        """Return the selection with a fixed end: a cancellation that is repeated with it selects the same jobs."""
        now = self._repo.clock()
        return replace(selection, submitted_before=min(selection.submitted_before or now, now))

    def preview(self, selection: OpenJobs, *, at_most: int = COUNTED) -> Preview:
        """Count the jobs that match, among as many open jobs as ``at_most``. Raises `StoreUnavailable`."""
        groups: Counter[tuple[str, str, str]] = Counter()
        sample: list[str] = []
        looked_at = 0
        for page in self._pages(self.ending(selection)):
            for job in page:
                groups[job.task, job.queue, str(job.status)] += 1
                if len(sample) < SAMPLE:
                    sample.append(job.job_id)
            looked_at += PAGE
            if looked_at >= at_most:
                return Preview(groups.total(), False, groups, tuple(sample))
        return Preview(groups.total(), True, groups, tuple(sample))

    def find(self, selection: OpenJobs) -> Iterator[Job]:
        """Return the jobs that match, a page at a time, each partition in the order of the jobs' due times."""
        for page in self._pages(self.ending(selection)):
            yield from page

    def act(
        self,
        selection: OpenJobs,
        *,
        by: str = "",
        reason: str = "",
        limit: int | None = None,
        rate: float | None = None,
        progress: Callable[[CancelReport], None] | None = None,
        on_done: Callable[[str], object] | None = None,
        report: CancelReport | None = None,
    ) -> CancelReport:
        """Cancel all jobs that match. A job that was claimed meanwhile, or has ended, is refused and listed.

        Parameters
        ----------
        by, reason : str
            Stored in the audit trail; the reason, after the name if one is given, is also stored with each job.
        limit : int, optional
            Maximum number of jobs.
        rate : float, optional
            Maximum number of jobs per second.
        progress : callable, optional
            Called with the report so far after each job; what it raises ends the cancellation.
        on_done : callable, optional
            Called with the id of each job as soon as it was acted on.
        report : CancelReport, optional
            Filled as jobs are acted on, so that a caller that is interrupted knows how far it got.

        Raises
        ------
        StoreUnavailable
            Cancellations before that stay, and a repetition continues with the rest.
        """
        report_, records = report or CancelReport(), FleetRecords.of(self._repo)
        stored = cancelled_by(by, reason) if by else reason or BY_A_PERSON
        with recorded(self._repo, "cancel", report_, what=selection.what, why=reason, by=by):
            act_on_each(
                ((job.job_id, job) for job in self.find(selection)),
                lambda _, job: self._cancel(job, selection, stored, records, report_),
                report_,
                limit=limit,
                rate=rate,
                sleep=self._sleep,
                timer=self._timer,
                progress=progress,
                on_done=on_done,
            )
        return report_

    def _cancel(self, job: Job, selection: OpenJobs, reason: str, records: FleetRecords, report: CancelReport) -> None:
        try:
            answer = cancel(
                self._repo,
                job.job_id,
                reason=reason,
                records=records,
                send=self._send,
                read=job,
                only=selection.states,
            )
        except StoreUnavailable:
            raise
        except JobError as error:
            report.refused.append((job.job_id, str(error)))
            return
        report.done += 1
        report.requested += answer is Answer.REQUESTED

    def _pages(self, selection: OpenJobs) -> Iterator[list[Job]]:
        """Yield the matching jobs, a page at a time, up to the entry that is each partition's last at the start: jobs
        created meanwhile cannot prolong the walk.
        """
        repo, now = self._repo, self._repo.clock()
        queues = list(selection.queues or repo.settings.queue_names)
        keys = state_keys(JobStatus.PENDING, queues, repo.table.shards)
        ends = {key: repo.table.entries(key, limit=1, newest_first=True) for key in keys}
        for key, last in ends.items():
            for entries in pages(repo.table, key, last[0].at) if last else ():
                found = repo.table.get_many([entry.job_id for entry in entries])
                jobs = [job for entry in entries if (job := found.get(entry.job_id)) is not None]
                yield [job for job in jobs if self._fits(job, selection, now)]

    @staticmethod
    def _fits(job: Job, selection: OpenJobs, now: int) -> bool:
        return (
            job.status in selection.states
            and job.created_at <= selection.submitted_before
            and not lifecycle.is_gone(job, now)
            and selection.fits(job)
        )


def _at_once(send: Send, job: Job) -> None:
    send(job, 0.0)
