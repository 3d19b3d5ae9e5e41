"""Filters of a list that the index does not know: applied to pages, so that a question stays bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, Self

from jobclaim.jobs import FailureKind, InvalidInput, Job, JobRepo, Page
from jobclaim.jobs.model import DeadState

PAGES: Final = 10
"""Pages that a filter may look through; what it did not reach is behind the cursor."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a job must be to be listed; ``None`` asks for nothing.

    Attributes
    ----------
    task, job_id : str, optional
        ``*`` stands for anything.
    exception : str, optional
        The whole dotted name, or its last part.
    since_ms : int, optional
        Submitted within so many milliseconds.
    submitted_after, submitted_before : int, optional
        Epoch milliseconds, both included.
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
        """Make a filter; an unknown kind is refused with the nearest. Raises `InvalidInput`."""
        return cls(task, known_kind(kind), worker_id, since_ms)

    def fits(self, job: Job, now: int) -> bool:
        """Whether a job is to be listed."""
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
        failure = job.failure
        return failure is not None and (
            self.kind in (None, failure.kind.name)
            and self.exception in (None, failure.exception, failure.exception.rpartition(".")[2])
            and self.fingerprint in (None, failure.fingerprint)
        )

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return self == JobFilter()

    def words(self) -> str:
        """Say that one filters, in the sentence of an empty list."""
        return "" if self.is_empty else ", and fits the filters, on the pages looked at"


def known_kind(kind: str | None) -> str | None:
    """Give a kind of failure as it is written; an unknown one is refused with the nearest. Raises `InvalidInput`."""
    return _known(kind, FailureKind.__members__.keys(), "kind of failure")


def known_dead_state(state: str | None) -> str | None:
    """Give a dead state as it is written; an unknown one is refused with the nearest. Raises `InvalidInput`."""
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
    """Give the next jobs that fit: at most `PAGES` pages are read, and never a job is passed over by the cursor."""
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
