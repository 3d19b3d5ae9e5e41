"""Act on many jobs, one after the other: pages of the index, a limit, a rate, and a report as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from jobclaim.fleet.acting import acting
from jobclaim.jobs import JobRepo
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.jobs.storage.table import JobTable

PAGE: Final = 100
"""Index entries and items per read."""


@dataclass(slots=True)
class ActReport:
    """The report of an action on many jobs.

    Attributes
    ----------
    matched : int
        Jobs that matched.
    refused : list
        Job id and reason of each that was not acted on.
    unsent : int
        Jobs that are PENDING again without a message yet; recovery sends it.
    limited : bool
        Whether ``limit`` left some out.
    """

    matched: int = 0
    done: int = 0
    unsent: int = 0
    limited: bool = False
    refused: list[tuple[str, str]] = field(default_factory=list)


T = TypeVar("T")
R = TypeVar("R", bound=ActReport)


def pages(table: JobTable, partition: str, up_to: int | None = None) -> Iterator[list[IndexEntry]]:
    """Read an index partition in the order of its times, a page of entries at a time, up to a time inclusive."""
    after: IndexEntry | None = None
    while page := table.entries(partition, limit=PAGE, after=after, up_to=up_to):
        yield page
        if len(page) < PAGE:
            return
        after = page[-1]


@contextmanager
def recorded(repo: JobRepo, verb: str, report: ActReport, *, what: str, why: str, by: str) -> Iterator[None]:
    """Record an action on many jobs in the audit trail, with the report's counts, also when it is interrupted."""
    with acting(repo, verb, what=what, why=why, by=by) as act:
        try:
            yield
        finally:
            act.count(done=report.done, refused=len(report.refused))


def act_on_each(
    selected: Iterable[tuple[str, T]],
    act: Callable[[str, T], None],
    report: R,
    *,
    limit: int | None,
    rate: float | None,
    sleep: Callable[[float], None],
    timer: Callable[[], float],
    progress: Callable[[R], None] | None,
    on_done: Callable[[str], object] | None,
) -> None:
    """Call ``act`` with each job id and its data; ``act`` adds the result to the report.

    Parameters
    ----------
    limit : int, optional
        Maximum number of jobs.
    rate : float, optional
        Maximum number of jobs per second.
    progress : callable, optional
        Called with the report so far after each job; what it raises ends the loop.
    on_done : callable, optional
        Called with the id of each job as soon as it was acted on.
    """
    started = timer()
    for job_id, job in selected:
        if limit is not None and report.matched >= limit:
            report.limited = True
            return
        report.matched += 1
        if rate is not None:
            sleep(max(0.0, started + (report.matched - 1) / rate - timer()))
        before = report.done
        act(job_id, job)
        if on_done is not None and report.done > before:
            on_done(job_id)
        if progress is not None:
            progress(report)
