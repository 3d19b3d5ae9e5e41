"""New jobs that are planned first and written later: those of a transaction, and those that are written at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from jobclaim.jobs.model import Job
from jobclaim.jobs.storage.table import JobTable
from jobclaim.jobs.storage.written import Written

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A new job, checked and not written yet.

    Attributes
    ----------
    job : Job
        As it is stored.
    payload : JSON value
        As its caller passed it; the job may have a mark in its place.
    text : str, optional
        The JSON of the job's payload.
    settle : callable
        Called with the job when it is written, or with the existing job that answers for it, which it may refuse.
    """

    job: Job
    payload: Any
    text: str | None
    settle: Callable[[Job], object]

    @property
    def is_payload_apart(self) -> bool:
        """Whether the job's item has a mark in place of the payload, which was written by itself."""
        return self.job.payload_mark is not None or self.job.payload is not self.payload


class Joined(Protocol):
    """Takes new jobs that are to be written later."""

    def plan(self, repo: Any, new: NewJob) -> Job:
        """Add a new job of a repo; return it as planned."""


class Writes(Protocol):
    """The part of a `JobRepo` that writes planned jobs."""

    table: JobTable

    def write(self, new: NewJob, put: Callable[[], Written] | None = None) -> Job:
        """See `jobclaim.jobs.repo.submitting.Submitting.write`."""


_joined: ContextVar[Joined | None] = ContextVar("joined", default=None)


def joined() -> Joined | None:
    """Return what newly created jobs become part of; ``None`` if they are written by themselves."""
    return _joined.get()


@contextmanager
def joining(whole: Joined | None) -> Iterator[None]:
    """Add jobs that are created in this block to what writes them later; ``None``: each is written by itself."""
    token = _joined.set(whole)
    try:
        yield
    finally:
        _joined.reset(token)


Outcome = Job | Exception
"""What came of a call: the job that it returned, or the exception that it raised."""


def begin(repo: Writes, calls: Sequence[Callable[[], Job]]) -> tuple[Callable[[], list[Outcome]], bool]:
    """Make calls that create one job each, and begin the first tries of their puts at the same time.

    Return what waits for the puts and returns what would have come of each call by itself; and whether payloads were
    written besides, which happens one by one.
    """
    plans = _Plans()
    with joining(plans):
        planned = [_outcome(partial(plans.made_by, call)) for call in calls]
    new_jobs = [new for new in planned if isinstance(new, NewJob)]
    puts = iter(repo.table.puts([(new.job, new.text) for new in new_jobs]))
    begun = [partial(repo.write, new, next(puts)) if isinstance(new, NewJob) else new for new in planned]
    apart = any(new.is_payload_apart for new in new_jobs)
    return lambda: [_outcome(one) if isinstance(one, partial) else one for one in begun], apart


class _Plans(list[tuple[Writes, NewJob]]):
    def plan(self, repo: Writes, new: NewJob) -> Job:
        self.append((repo, new))
        return new.job

    def made_by(self, call: Callable[[], Job]) -> NewJob:
        """Make a call; return its own job, the last one. Others are of code that it runs, such as a validator."""
        try:
            call()
            return self.pop()[1]
        finally:
            while self:
                repo, other = self.pop(0)
                repo.write(other)


def _outcome(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the caller gets it in its place
        return error
