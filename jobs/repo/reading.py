"""Reads: one job consistently, or many page by page; never a scan."""

from __future__ import annotations

from collections.abc import Callable

from jobclaim.jobs import checks
from jobclaim.jobs.encoding.item import UNSENT_EARLIER_MS
from jobclaim.jobs.errors import (
    InvalidInput,
    JobNotFound,
)
from jobclaim.jobs.model import Job, JobStatus, Page
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo.store import Store
from jobclaim.jobs.storage.listing import list_page, state_keys


class Reading(Store):
    """Reads jobs."""

    def get_job(self, job_id: str, *, large: bool = True) -> Job:
        """Read one job consistently: one request, and one more for each large value that it has.

        Parameters
        ----------
        large : bool
            Whether to read large values too; otherwise their marks stand in for them, as in a list.

        Raises
        ------
        JobNotFound
            Also if the job is past its retention and DynamoDB has not deleted it yet.
        """
        job = self.table.get(checks.text(job_id, "job_id"))
        if job is None or lifecycle.is_gone(job, self.clock()):
            raise JobNotFound(job_id)
        return self.large.readable(job) if large else job

    def list_jobs(
        self,
        status: str | JobStatus,
        *,
        queue: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        where: Callable[[Job], bool] | None = None,
        since: int | None = None,
    ) -> Page:
        """List jobs by state: open ones by their due time, ended ones newest first. Bounded requests, never a scan.

        A page may be short before the end when many jobs do not match; ``page.cursor`` is ``None`` only at the end.
        Large payloads are not read: their marks stand in for them, and `get_job` reads them.

        Parameters
        ----------
        where : callable, optional
            List only jobs for which it is true. A page then looks through at most 2,000 jobs; ``page.looked_at`` and
            ``page.span`` say which.
        since : int, optional
            Leave out jobs that were submitted earlier, epoch milliseconds, without reading them if the index shows it.

        Raises
        ------
        InvalidInput
            An unknown cursor, a limit outside 1 to 1,000, or completed jobs in a table that does not list them.
        """
        status_, now = checks.status(status), self.clock()
        checks.count(limit, "limit", most=1000)
        if queue is not None:
            queue = checks.text(queue, "queue")
        if status_ is JobStatus.COMPLETED and not self.settings.index_completed:
            raise InvalidInput(
                "completed jobs are not listed in this table; set JOBCLAIM_INDEX_COMPLETED=true, which costs one "
                "write unit per job"
            )
        return list_page(
            self.table,
            state_keys(status_, [queue] if queue else list(self.settings.queue_names), self.table.shards),
            scope=f"{status_} in {queue or 'all queues'}",
            keep=lambda job: (
                job.status is status_
                and queue in (None, job.queue)
                and not lifecycle.is_gone(job, now)
                and (since is None or job.created_at >= since)
                and (where is None or where(job))
            ),
            limit=limit,
            newest_first=not status_.is_open,
            cursor=cursor,
            searching=where is not None or since is not None,
            since=None if since is None else max(0, since - UNSENT_EARLIER_MS),
        )
