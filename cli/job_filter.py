"""Filters of a list that the index does not know: applied to pages, so that a question stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, Self

import click

from jobs import FailureKind, Job, JobRepo, Page

PAGES: Final = 10
"""Pages that a filter may look through; what it did not reach is behind the cursor."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a job must be to be listed; ``None`` asks for nothing."""

    task: str | None = None
    kind: str | None = None
    worker_id: str | None = None
    since_ms: int | None = None

    @classmethod
    def of(cls, *, task: str | None, kind: str | None, worker_id: str | None, since_ms: int | None) -> Self:
        """Make a filter; an unknown kind is refused with the nearest."""
        if kind is not None and kind.upper() not in FailureKind.__members__:
            close = get_close_matches(kind.upper(), FailureKind.__members__, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FailureKind.__members__)}"
            raise click.BadParameter(f"{kind!r} is no kind of failure; {hint}", param_hint="--kind")
        return cls(task, kind and kind.upper(), worker_id, since_ms)

    def fits(self, job: Job, now: int) -> bool:
        """Whether a job is to be listed."""
        return (
            (self.task is None or fnmatchcase(job.task, self.task))
            and (self.kind is None or (job.failure is not None and job.failure.kind.name == self.kind))
            and (self.worker_id is None or job.worker_id == self.worker_id)
            and (self.since_ms is None or job.created_at >= now - self.since_ms)
        )

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return self == JobFilter()

    def words(self) -> str:
        """Say that one filters, in the sentence of an empty list."""
        return "" if self.is_empty else ", and fits the filters, on the pages looked at"


def filtered_page(
    repo: JobRepo, status: str, wanted: JobFilter, *, now: int, queue: str | None, limit: int, cursor: str | None
) -> Page:
    """Give the next jobs that fit: at most `PAGES` pages are read, and never a job is passed over by the cursor."""
    if wanted.is_empty:
        return repo.list_jobs(status, queue=queue, limit=limit, cursor=cursor)
    found: list[Job] = []
    for _ in range(PAGES):
        page = repo.list_jobs(status, queue=queue, limit=max(1, limit - len(found)), cursor=cursor)
        found += [job for job in page.jobs if wanted.fits(job, now)]
        cursor = page.cursor
        if cursor is None or len(found) >= limit:
            break
    return Page(tuple(found), cursor)
