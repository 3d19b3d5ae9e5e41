"""List filters that the index cannot apply: they are applied page by page, so that the cost stays bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, Self

from jobclaim.jobs import FailureKind, InvalidInput, Job, JobRepo, Page
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import releases

PAGES: Final = 10
"""Most pages that one filtered list reads; the cursor continues after them."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Criteria that a job must match to be listed; ``None`` matches every job.

    Attributes
    ----------
    task, job_id : str, optional
        ``*`` matches any characters.
    exception : str, optional
        The full dotted name, or its last part.
    since_ms : int, optional
        Submitted within the last ``since_ms`` milliseconds.
    submitted_after, submitted_before : int, optional
        Epoch milliseconds, both inclusive.
    """

    task: str | None = None
    kind: str | None = None
    worker_id: str | None = None
    since_ms: int | None = None
    job_id: str | None = None
    exception: str | None = None
    fingerprint: str | None = None
    dead_state: str | None = None
    submitted_after: int | None = None
    submitted_before: int | None = None

    @classmethod
    def of(cls, *, task: str | None, kind: str | None, worker_id: str | None, since_ms: int | None) -> Self:
        """Build a filter; refuse an unknown kind and suggest the closest. Raises `InvalidInput`."""
        return cls(task, known_kind(kind), worker_id, since_ms)

    def fits(self, job: Job, now: int) -> bool:
        """Return whether a job matches."""
        return (
            (self.task is None or fnmatchcase(job.task, self.task))
            and (self.job_id is None or fnmatchcase(job.job_id, self.job_id))
            and (self.worker_id is None or job.worker_id == self.worker_id)
            and (self.since_ms is None or job.created_at >= now - self.since_ms)
            and (self.submitted_after is None or job.created_at >= self.submitted_after)
            and (self.submitted_before is None or job.created_at <= self.submitted_before)
            and (self.dead_state is None or job.dead_state == self.dead_state)
            and self._failed_so(job)
        )

    def _failed_so(self, job: Job) -> bool:
        if self.kind is None and self.exception is None and self.fingerprint is None:
            return True
        failure = releases.last_failure(job)
        return failure is not None and (
            self.kind in (None, failure.kind.name)
            and self.exception in (None, failure.exception, failure.exception.rpartition(".")[2])
            and self.fingerprint in (None, failure.fingerprint)
        )

    @property
    def is_empty(self) -> bool:
        """Return whether it matches every job."""
        return self == JobFilter()

    def words(self) -> str:
        """Describe the filter, for the message of an empty list."""
        return "" if self.is_empty else " and matches the filters on the pages that were read"


def known_kind(kind: str | None) -> str | None:
    """Return a kind of failure in its canonical spelling. Raises `InvalidInput`, with the closest, if unknown."""
    return _known(kind, FailureKind.__members__.keys(), "kind of failure")


def known_dead_state(state: str | None) -> str | None:
    """Return a dead state in its canonical spelling. Raises `InvalidInput`, with the closest, if unknown."""
    return _known(state, DeadState.__members__.keys(), "dead state")


def _known(word: str | None, words: Iterable[str], what: str) -> str | None:
    known = list(words)
    if word is None or word.upper() in known:
        return word and word.upper()
    close = get_close_matches(word.upper(), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    raise InvalidInput(f"{word!r} is no {what}; {hint}")


def filtered_page(
    repo: JobRepo, status: str, wanted: JobFilter, *, now: int, queue: str | None, limit: int, cursor: str | None
) -> Page:
    """Return the next matching jobs. Reads at most `PAGES` pages; the cursor never skips a job."""
    if wanted.is_empty:
        return repo.list_jobs(status, queue=queue, limit=limit, cursor=cursor)
    found: list[Job] = []
    unreadable: list[str] = []
    for _ in range(PAGES):
        page = repo.list_jobs(status, queue=queue, limit=max(1, limit - len(found)), cursor=cursor)
        found += [job for job in page.jobs if wanted.fits(job, now)]
        unreadable += page.unreadable
        cursor = page.cursor
        if cursor is None or len(found) >= limit:
            break
    return Page(tuple(found), cursor, tuple(unreadable))
