"""List filters that the index cannot apply: they are applied page by page, so that the cost stays bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Self

from jobclaim.jobs import FailureKind, InvalidInput, Job, JobRepo, Page
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.protocol import releases
from jobclaim.views.humane import clock_time
from jobclaim.views.records import compact


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Criteria that a job must match to be listed; ``None`` matches every job.

    Attributes
    ----------
    task, job_id : str, optional
        ``*`` matches any characters.
    exception : str, optional
        The full dotted name, or its last part.
    worker_id : str, optional
        Worker of its last claim, or of an earlier attempt in its history.
    since_ms : int, optional
        Submitted within the last ``since_ms`` milliseconds.
    submitted_after, submitted_before : int, optional
        Epoch milliseconds, both inclusive.
    tags : tuple of str
        Tags that a job must all have.
    key : str, optional
        Idempotency key; ``*`` matches any characters.
    argument, error : str, optional
        Text within its arguments as JSON, or within exception, message or place of its failures; upper and lower case
        are the same. Arguments that are stored in S3 are not read.
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
    tags: tuple[str, ...] = ()
    key: str | None = None
    argument: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, *, kind: str | None = None, **criteria: Any) -> Self:
        """Build a filter; refuse an unknown kind and suggest the closest. Raises `InvalidInput`."""
        return cls(kind=known_kind(kind), **criteria)

    def fits(self, job: Job, now: int) -> bool:
        """Return whether a job matches."""
        return (
            (self.task is None or fnmatchcase(job.task, self.task))
            and (self.job_id is None or fnmatchcase(job.job_id, self.job_id))
            and (self.worker_id is None or self.worker_id in {job.worker_id, *(old.worker_id for old in job.history)})
            and (self.since_ms is None or job.created_at >= now - self.since_ms)
            and (self.submitted_after is None or job.created_at >= self.submitted_after)
            and (self.submitted_before is None or job.created_at <= self.submitted_before)
            and (self.dead_state is None or job.dead_state == self.dead_state)
            and (self.key is None or fnmatchcase(job.idempotency_key, self.key))
            and set(self.tags) <= set(job.tags)
            and self._failed_so(job)
            and (self.argument is None or self.argument.lower() in compact(codec.plain(job.payload)).lower())
            and (self.error is None or self.error.lower() in _errors(job).lower())
        )

    def earliest(self, now: int) -> int | None:
        """Return the time before which no matching job was submitted."""
        bounds = (self.submitted_after, None if self.since_ms is None else now - self.since_ms)
        return max((at for at in bounds if at is not None), default=None)

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


def _errors(job: Job) -> str:
    """Return the words of all failures that a job remembers."""
    failures = [job.failure, *(attempt.failure for attempt in job.history)]
    return "\n".join(f"{one.exception}: {one.message} {one.where}" for one in failures if one is not None)


def known_kind(kind: str | None) -> str | None:
    """Return a kind of failure in its canonical spelling. Raises `InvalidInput`, with the closest, if unknown."""
    return _known_word(kind, FailureKind.__members__.keys(), "kind of failure")


def known_dead_state(state: str | None) -> str | None:
    """Return a dead state in its canonical spelling. Raises `InvalidInput`, with the closest, if unknown."""
    return _known_word(state, DeadState.__members__.keys(), "dead state")


def _known_word(word: str | None, words: Iterable[str], what: str) -> str | None:
    known = list(words)
    if word is None or word.upper() in known:
        return word and word.upper()
    close = get_close_matches(word.upper(), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
    raise InvalidInput(f"{word!r} is not a {what}; {hint}")


def filtered_page(
    repo: JobRepo, status: str, job_filter: JobFilter, *, now: int, queue: str | None, limit: int, cursor: str | None
) -> Page:
    """Return the next matching jobs of the at most 2,000 that are read; the cursor never skips a job."""
    where = None if job_filter.is_empty else lambda job: job_filter.fits(job, now)
    return repo.list_jobs(status, queue=queue, limit=limit, cursor=cursor, where=where, since=job_filter.earliest(now))


def looked_through(count: int, span: tuple[int, int] | None, statuses: Iterable[str]) -> str:
    """Say which jobs were read for a list: ``Looked through 2,000 CANCELLED jobs, ended from 12:03:00 to ... UTC``."""
    names = list(dict.fromkeys("open" if status in ("PENDING", "PROCESSING") else status for status in statuses))
    jobs = f"Looked through {count:,} {' and '.join(names)} job{'' if count == 1 else 's'}"
    if span is None:
        return jobs
    first, last = (clock_time(at).removesuffix("Z") for at in span)
    last = last[11:] if last[:10] == first[:10] else last
    what = "due" if names == ["open"] else "due or ended" if {"open", "FAILED"} & set(names) else "ended"
    return f"{jobs}, {what} from {first} to {last} UTC"
