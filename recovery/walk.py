"""Walk along one partition of the index: pages of entries, their jobs, and how far the walk got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.errors import JobError
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.jobs.storage.table import JobTable

log = get_logger("jobclaim.recovery")

READ_FAILURES: Final = 3
"""Consecutive failed reads after which a pass stops reading: DynamoDB is down, and each try takes seconds."""


class PassBudget:
    """The limit of one pass: a point in time, and a number of failed reads.

    Attributes
    ----------
    until : int
        When the pass must end, epoch milliseconds.
    read_failures : int
        Consecutive failed reads after which the pass ends.
    """

    def __init__(self, clock: Clock, until: int) -> None:
        self.until = until
        self.read_failures = 0
        self._clock = clock

    def exhausted(self) -> bool:
        """Return whether the pass must leave the rest to the next one."""
        return self.read_failures >= READ_FAILURES or self._clock() >= self.until


@dataclass(frozen=True, slots=True)
class Stretch:
    """The progress of one walk.

    Attributes
    ----------
    last : IndexEntry or None
        Last entry read.
    last_clean : IndexEntry or None
        Last entry up to which nothing failed.
    finished : bool
        Whether it reached the end.
    failures : int
        Reads that failed.
    """

    last: IndexEntry | None
    last_clean: IndexEntry | None
    finished: bool
    failures: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing failed."""
        return self.last == self.last_clean


class Walker:
    """Walks along partitions of one job table.

    Parameters
    ----------
    handle : callable
        Called with each job; ``False`` means that the job must be read again.
    page_size : int
    """

    def __init__(self, table: JobTable, handle: Callable[[Job], bool], budget: PassBudget, page_size: int) -> None:
        self._table = table
        self._handle = handle
        self._budget = budget
        self._page_size = page_size

    def walk(self, partition: str, *, after: IndexEntry | None, since: int | None, up_to: int, pages: int) -> Stretch:
        """Process the jobs of a partition, oldest first, up to so many pages."""
        if after is not None and after.at > up_to:
            return Stretch(after, after, finished=True)
        last, clean = after, after
        for _ in range(pages):
            if self._budget.exhausted():
                break
            try:
                page = self._table.entries(partition, limit=self._page_size, after=last, since=since, up_to=up_to)
                jobs = self._table.get_many([entry.job_id for entry in page])
            except JobError as error:
                self._budget.read_failures += 1
                log.error("recovery.partition_unavailable", partition=partition, reason=str(error))
                return Stretch(last, clean, finished=False, failures=1)
            self._budget.read_failures = 0
            for entry in page:
                if self._budget.exhausted():
                    return Stretch(last, clean, finished=False)
                job = jobs.get(entry.job_id)
                handled = job is None or self._handle(job)
                clean = entry if handled and clean == last else clean
                last = entry
            if len(page) < self._page_size:
                return Stretch(last, clean, finished=True)
        return Stretch(last, clean, finished=False)
