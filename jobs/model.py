"""The job as a value; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from jobclaim.jobs.kept import Progress, Release, Step, Wait

OnOrphan = Literal["fail", "retry"]
HISTORY_LIMIT: Final = 10
"""Maximum number of ended attempts that a job stores."""


class JobStatus(StrEnum):
    """States of a job; the moves between them are in `jobclaim.jobs.transitions`."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_open(self) -> bool:
        """Whether the job has not ended yet."""
        return self in (JobStatus.PENDING, JobStatus.PROCESSING)


class DeadState(StrEnum):
    """What follows for a failed job, as far as it is decided."""

    SCHEDULED = "SCHEDULED"
    """Recovery starts it again at `Job.retry_at`."""
    WAITING = "WAITING"
    """A person must decide."""
    RETRYING = "RETRYING"
    """It was started again and has not ended yet."""
    RESOLVED = "RESOLVED"
    """Its retry completed, or a person declared its work done."""
    ABANDONED = "ABANDONED"
    """A person declared that its work is not wanted anymore."""


class FailureKind(StrEnum):
    """Why a job failed, as far as it determines what to do next."""

    TRANSIENT = "TRANSIENT"
    EXTERNAL = "EXTERNAL"
    CONFIGURATION = "CONFIGURATION"
    PERMANENT = "PERMANENT"
    TIMEOUT = "TIMEOUT"
    ORPHANED = "ORPHANED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong in an attempt.

    Attributes
    ----------
    kind : FailureKind
    exception : str
        Dotted type of the exception; empty if there was none (a lost worker).
    message, traceback : str
        Text, cut to a bounded length.
    at : int
        Epoch milliseconds.
    where : str
        Top frame of the user's code, ``shop/tasks.py:charge``; empty if there was none.
    fingerprint : str
        Equal for failures of the same kind, exception and place, regardless of their messages.
    """

    kind: FailureKind
    message: str
    exception: str = ""
    traceback: str = ""
    at: int = 0
    where: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One ended attempt that was not a plain success: who held the claim, until when, and how it ended.

    Attributes
    ----------
    outcome : str
        Name of the move that ended it: ``retry``, ``release``, ``orphan-fail``, ...
    claimed_at, lease_expires_at, ended_at : int
        Epoch milliseconds.
    held, reason : str
        What released it uncharged, see `jobclaim.jobs.kept.Release`; empty for any other end.
    nonce : str
        Random value of the end, if recovery wrote it: another pass may write the same end in the same millisecond.
    """

    attempt: int
    outcome: str
    worker_id: str = ""
    claim_token: str = field(default="", repr=False)
    claimed_at: int = 0
    lease_expires_at: int = 0
    ended_at: int = 0
    failure: Failure | None = None
    held: str = ""
    reason: str = ""
    nonce: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision about a failed job.

    Attributes
    ----------
    verb : str
        ``retry``, ``resolve`` or ``abandon``.
    by : str
        Author of the decision: a person, or ``recovery``.
    why : str
    at : int
        Epoch milliseconds.
    """

    verb: str
    by: str
    why: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as it was last read or written. Its ``repr``, which may end in a log, shows no argument and no token.

    Attributes
    ----------
    attempt : int
        Claims so far, plus runs called off before their claim; it only grows, and fences messages.
    charged : int
        Attempts that count against ``max_attempts``.
    payload, result : JSON values
    created_at, available_at, claimed_at, lease_expires_at, finished_at, dispatched_at : int
        Epoch milliseconds; 0 if it has not happened.
    expires_at : int
        Epoch seconds at which DynamoDB may delete the item; 0 while the job is open.
    lease_ms : int
        Lease of a claim, in milliseconds.
    dispatches : int
        Messages sent for the current attempt; 0 while it waits for a time too far ahead for SQS.
    idempotency_ttl : float
        Seconds after its end for which equal submissions get a completed job instead of a new run.
    start_by : int
        Epoch milliseconds after which its body may not start; 0 if there is no limit, and once it has started.
    releases : int
        How often bodies of this run have released the job uncharged; its waits grow with that number.
    slot : int
        Turn that a rate limit reserved for it, in epoch milliseconds; 0 for none.
    envelope : str
        Text that the layer above puts on each of the job's messages; not interpreted here.
    retry_at : int
        When recovery starts a failed job again, in epoch milliseconds; 0 if it does not.
    dead_retries : int
        Automatic retries by recovery since a person last decided about it.
    dead_state : DeadState or str
        Empty for a job that never failed.
    failure_policy : str
        Failure rules of the task's author, see `jobclaim.jobs.failures.dead`; empty if only settings apply.
    decisions : tuple of Decision
        The last 20, oldest first.
    tags : tuple of str
        Words by which people find it, as its submitter gave them; retries and waits keep them.
    payload_mark : map or None
        Not stored under this name: the item's placeholder for a large payload, if the payload was read.
    effects : str
        Number, digest and a bounded description of the caller's writes that were made with its completion, see
        `jobclaim.jobs.effects.evidence`; empty for none.
    nonce : str
        Random value of the last move that was made by recovery or by a cancellation: two processes may write the same
        in the same millisecond, and only one of them has made the move.
    unsent : int
        1 if it was written in a transaction whose submitter still has to send its message; if the submitter dies before
        that, recovery sends it within seconds.
    steps : tuple of Step
        Finished steps of the run, in the order in which they were recorded.
    step_count : int
        Number of steps; recording another one is conditional on it.
    waits : tuple of Wait
        What its run waited for, waits for or was resumed with.
    wait_changes : int
        How often ``waits`` was written; changing it is conditional on this number.
    wait_secret : str
        Secret from which the tokens of its waits are derived; empty until the body asks for one.
    waits_for : str
        Name that it waits for while it is PENDING; empty otherwise. It remains while the next attempt runs.
    released : Release or None
        What released its last attempt uncharged, or keeps its messages from being claimed; see `releases.current`.
    progress : Progress or None
        Last progress report of an attempt.
    checkpoint : JSON value
        Checkpoint that an attempt left for the next one.
    created : bool
        Not stored: ``False`` if `create_job` found an equal job instead.
    """

    job_id: str
    task: str
    queue: str
    status: JobStatus
    attempt: int = 0
    charged: int = 0
    max_attempts: int = 1
    payload: Any = field(default=None, repr=False)
    result: Any = field(default=None, repr=False)
    created_at: int = 0
    available_at: int = 0
    claimed_at: int = 0
    lease_expires_at: int = 0
    finished_at: int = 0
    claim_token: str = field(default="", repr=False)
    worker_id: str = ""
    celery_task_id: str = ""
    failure: Failure | None = None
    history: tuple[Attempt, ...] = ()
    idempotency_key: str = ""
    idempotency_ttl: float = 0
    fingerprint: str = ""
    submission: str = ""
    expires_at: int = 0
    dispatches: int = 0
    dispatched_at: int = 0
    on_orphan: OnOrphan = "fail"
    lease_ms: int = 0
    start_by: int = 0
    slot: int = 0
    releases: int = 0
    envelope: str = ""
    retry_at: int = 0
    dead_retries: int = 0
    dead_state: str = ""
    failure_policy: str = ""
    decisions: tuple[Decision, ...] = ()
    tags: tuple[str, ...] = ()
    payload_mark: Any = field(default=None, repr=False, compare=False)
    effects: str = ""
    nonce: str = ""
    unsent: int = 0
    steps: tuple[Step, ...] = ()
    step_count: int = 0
    waits: tuple[Wait, ...] = ()
    wait_changes: int = 0
    wait_secret: str = field(default="", repr=False)
    waits_for: str = ""
    released: Release | None = None
    progress: Progress | None = None
    checkpoint: Any = field(default=None, repr=False)
    created: bool = field(default=True, compare=False)

    def log_context(self) -> dict[str, Any]:
        """Return the fields for a log line: never an argument, a result or a token."""
        return {"job_id": self.job_id, "task": self.task, "queue": self.queue, "attempt": self.attempt}

    @property
    def wait_ms(self) -> int:
        """Milliseconds from the due time of the current attempt to its claim: the wait that an SLA is about."""
        return max(0, self.claimed_at - self.available_at) if self.claimed_at else 0

    @property
    def waiting(self) -> Wait | None:
        """Wait of a job that is suspended without a worker; ``None`` if it is not."""
        return self.wait_named(self.waits_for) if self.status is JobStatus.PENDING and self.waits_for else None

    @property
    def told(self) -> Progress | None:
        """Last progress report of the running attempt; ``None`` if it reported nothing, and after its end."""
        known = self.progress
        is_current = self.status is JobStatus.PROCESSING and known is not None and known.attempt == self.attempt
        return known if is_current else None

    def wait_named(self, name: str) -> Wait | None:
        """Return a wait by name; ``None`` if there is none."""
        return next((wait for wait in self.waits if wait.name == name), None)

    def step_named(self, name: str) -> Step | None:
        """Return a finished step by name; ``None`` if it is not finished."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def attempts_left(self) -> int:
        """Attempts that may still be charged."""
        return max(0, self.max_attempts - self.charged)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs; ``cursor`` continues after it, ``None`` at the end.

    ``unreadable`` holds the ids of jobs on it whose items this version cannot read. ``looked_at`` is how many entries
    of the index were read for it, and ``span`` their earliest and latest time in the list's order, epoch milliseconds.
    """

    jobs: tuple[Job, ...]
    cursor: str | None = None
    unreadable: tuple[str, ...] = ()
    looked_at: int = 0
    span: tuple[int, int] | None = None
