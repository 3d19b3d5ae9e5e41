"""What a job keeps over its attempts: values only. `jobclaim.jobs.model.Job` holds them, the claim brings them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

MAX_STEPS: Final = 500
"""Finished steps that one run of a job may record: all are in its item, and each write is billed by its size."""
MAX_WAITS: Final = 200
"""Names that one run of a job may wait for, and sleep under."""
SLEEP: Final = "sleep/"
"""Stands before the names of sleeps, which nothing resumes."""
PROGRESS: Final = "PROGRESS"
"""Celery's customary name for the state of a task that tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that is finished: a later attempt gets its result without running it.

    Attributes
    ----------
    name : str
        Unique in a run.
    function : str
        Dotted name of what ran.
    arguments : str
        Hash of its arguments.
    result : JSON value
        As it is stored: a mark where it is in S3.
    attempt : int
        The attempt that ran it.
    at, took_ms : int
        When it was finished, epoch milliseconds, and how long it ran.
    """

    name: str
    function: str
    arguments: str
    result: Any = field(default=None, repr=False)
    attempt: int = 0
    at: int = 0
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A name that a job waits for, waited for or will wait for.

    Attributes
    ----------
    name : str
    since, until : int
        When the body first waited for it and its deadline, epoch milliseconds; 0 while it has not.
    resumed_at : int
        When it was resumed, epoch milliseconds; 0 while it was not.
    payload : JSON value
        What it was resumed with, as it is stored: a mark where it is in S3.
    by : str
        Who resumed it.
    nonce : str
        Drawn for the resume, by which its writer recognises it.
    timed_out : bool
        Whether the body was told that nobody resumed it in time: that is final.
    announced : bool
        Whether the body gave its token out.
    """

    name: str
    since: int = 0
    until: int = 0
    resumed_at: int = 0
    payload: Any = field(default=None, repr=False)
    by: str = ""
    nonce: str = ""
    timed_out: bool = False
    announced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt is, as it told last.

    Attributes
    ----------
    done, total : float or None
        Units of work; ``None`` where the body does not say.
    message : str
    state : str
        What Celery's users see as the task's state.
    meta : JSON value
        What the body passed to Celery's ``update_state``; ``None`` where it used `progress`.
    attempt : int
    at : int
        When it was told, epoch milliseconds.
    first_done, first_at : float, int
        The attempt's first report, from which the rate is taken.
    """

    done: float | None = None
    total: float | None = None
    message: str = ""
    state: str = PROGRESS
    meta: Any = None
    attempt: int = 0
    at: int = 0
    first_done: float | None = None
    first_at: int = 0

    @property
    def share(self) -> float | None:
        """Part of the work that is done, from 0 to 1; ``None`` where it is not known."""
        if self.done is None or not self.total or self.total <= 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))

    @property
    def rate(self) -> float | None:
        """Units a second since the attempt's first report; ``None`` while there is nothing to take it from."""
        if self.done is None or self.first_done is None or self.at <= self.first_at or self.done <= self.first_done:
            return None
        return (self.done - self.first_done) * 1000 / (self.at - self.first_at)

    def seconds_left(self, now: int) -> float | None:
        """Seconds until the work is done at the rate so far, as seen at ``now``; ``None`` where it is not known."""
        rate = self.rate
        if rate is None or self.total is None or self.done is None:
            return None
        return max(0.0, (self.total - self.done) / rate - max(0, now - self.at) / 1000)
