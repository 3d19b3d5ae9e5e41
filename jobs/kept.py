"""What a job keeps over its attempts: values only. `jobclaim.jobs.model.Job` holds them, and a claim returns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

MAX_STEPS: Final = 500
"""Maximum finished steps per run: all are in the job's item, and each write is billed by the item's size."""
MAX_WAITS: Final = 200
"""Maximum names that one run of a job may wait for or sleep under."""
SLEEP: Final = "sleep/"
"""Prefix of the names of sleeps, which cannot be resumed."""
PROGRESS: Final = "PROGRESS"
"""Celery's customary state name for a task that reports progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step: a later attempt gets its result without running it.

    Attributes
    ----------
    name : str
        Unique in a run.
    function : str
        Dotted name of the function that ran.
    arguments : str
        Hash of its arguments.
    result : JSON value
        The result as it is stored: a mark if the result is in S3.
    attempt : int
        The attempt that ran it.
    at, took_ms : int
        When it finished, in epoch milliseconds, and how long it ran.
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
        When the body first waited for it, and its deadline, in epoch milliseconds; 0 if it has not waited yet.
    resumed_at : int
        When it was resumed, in epoch milliseconds; 0 if it was not.
    payload : JSON value
        Payload of the resume, as stored: a mark if it is in S3.
    by : str
        Who resumed it.
    nonce : str
        Random value of the resume, by which its writer recognizes it.
    timed_out : bool
        Whether `WaitTimeout` was raised in the body: that is final.
    announced : bool
        Whether the body requested its token.
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
class Release:
    """Why a job waits again although no attempt failed.

    Attributes
    ----------
    held : str
        What holds it: one of `jobclaim.jobs.protocol.releases.Held`, or a name that a later version writes.
    reason : str
        One sentence, for people.
    at : int
        Epoch milliseconds.
    attempt : int
        The job's ``attempt`` at that time; after the next claim the release no longer applies.
    """

    held: str
    reason: str = ""
    at: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of an attempt, as last reported.

    Attributes
    ----------
    done, total : float or None
        Units of work; ``None`` if the body does not report them.
    message : str
    state : str
        State of the task that Celery's users see.
    meta : JSON value
        What the body passed to Celery's ``update_state``; ``None`` if it used `progress`.
    attempt : int
    at : int
        Time of the report, in epoch milliseconds.
    first_done, first_at : float, int
        The attempt's first report, from which the rate is computed.
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
        """Share of the work that is done, from 0 to 1; ``None`` if it is not known."""
        if self.done is None or self.total is None or self.total <= 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))

    @property
    def rate(self) -> float | None:
        """Units per second since the attempt's first report; ``None`` while there is too little data."""
        if self.done is None or self.first_done is None or self.at <= self.first_at or self.done <= self.first_done:
            return None
        return (self.done - self.first_done) * 1000 / (self.at - self.first_at)

    def seconds_left(self, now: int) -> float | None:
        """Return the seconds until the work is done at the rate so far, as of ``now``; ``None`` if it is not known."""
        rate = self.rate
        if rate is None or self.total is None or self.done is None:
            return None
        return max(0.0, (self.total - self.done) / rate - max(0, now - self.at) / 1000)
