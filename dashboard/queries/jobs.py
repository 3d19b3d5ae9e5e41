"""The list of jobs, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries.job_query import JobQuery
from jobclaim.dashboard.queries.walk import BATCH, HEAVIEST, LOOKED_AT, Found, Walk, find
from jobclaim.dashboard.services import Services
from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.encoding.item import LATEST_MS
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.listing import state_keys
from jobclaim.settings import Settings
from jobclaim.views.job_filter import JobFilter
from jobclaim.views.records import job_record, redacted, remark_on


@dataclass(frozen=True, slots=True)
class JobList:
    """One page of the list.

    Attributes
    ----------
    rows : list of dict
        Records of `jobclaim.views.records.job_record`, each with a ``remark``.
    notes : list of str
        Remarks on the list.
    """

    rows: list[dict[str, Any]]
    found: Found
    notes: list[str]


def budget(settings: Settings) -> Budget:
    """Return the budget of a list: its partitions twice, and the items of one view at their largest."""
    shards = settings.index_shards
    partitions = shards * (len(settings.queues) + 5)
    batches = LOOKED_AT // BATCH + 12
    return Budget(requests=2 * partitions + batches, read_units=2 * partitions + (BATCH + 1) * HEAVIEST)


def read(services: Services, query: JobQuery, meter: Meter) -> JobList:
    """Read one page. Raises `InvalidInput`, `StoreUnavailable`."""
    settings, now = services.settings, services.clock()
    job_filter, notes = query.filter(now), []
    listed = [status for status in query.status if status is not JobStatus.COMPLETED or settings.index_completed]
    if len(listed) < len(query.status):
        notes.append(
            "Completed jobs are not listed in this table: JOBCLAIM_INDEX_COMPLETED=true lists those that complete from "
            "then on, for one more write unit per job. A job's own page shows a completed one in any case."
        )
    if not listed:
        return JobList([], Found(()), notes)
    shown = services.shown if job_filter.argument or job_filter.error else None
    found = find(services, _walk(query, listed, job_filter, settings, now, shown), meter)
    rows = [record(services, job, now) for job in found.jobs]
    return JobList(rows, found, notes)


def record(services: Services, job: Job, now: int) -> dict[str, Any]:
    """Build the record of a job as pages and the API show it, with a remark on its state."""
    fields = job_record(services.shown(job), payload=True)
    if not services.settings.dashboard_arguments:
        fields["payload"] = redacted(job.payload)
    return {**fields, "remark": remark_on(fields, now)}


def _walk(
    query: JobQuery,
    listed: Sequence[JobStatus],
    job_filter: JobFilter,
    settings: Settings,
    now: int,
    shown: Callable[[Job], Job] | None,
) -> Walk:
    """Build the walk of a query. Filters see jobs as they are ``shown``, or a text search would reveal what is
    redacted.
    """
    queues = list(query.queue or settings.queue_names)
    partitions = dict.fromkeys(key for status in listed for key in state_keys(status, queues, settings.index_shards))
    closed = not any(status.is_open for status in listed)

    def keep(job: Job) -> bool:
        return (
            job.status in listed
            and (not query.queue or job.queue in query.queue)
            and not lifecycle.is_gone(job, now)
            and job_filter.fits(shown(job) if shown else job, now)
        )

    # closed jobs are indexed by their end: one that ended before `submitted_after` was submitted before it, too
    since = job_filter.submitted_after if closed else None
    return Walk(
        partitions=list(partitions),
        scope=f"{' '.join(map(str, listed))} in {' '.join(queues)}, newest first: {query.newest_first}",
        keep=keep,
        limit=query.limit,
        newest_first=query.newest_first,
        cursor=query.cursor or None,
        since=since,
        up_to=LATEST_MS if since is not None else None,
    )
