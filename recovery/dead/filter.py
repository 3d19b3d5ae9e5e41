"""The filter that selects dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.model import DeadState, FailureKind, Job, JobStatus
from jobclaim.recovery.dead.decisions import state_of

OPEN_STATES: Final = (DeadState.WAITING, DeadState.SCHEDULED)
"""States of dead letters without a final decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Selects dead letters; empty fields match everything.

    Attributes
    ----------
    exception : str
        The whole dotted name, or its last part.
    since, until : int
        When they failed, epoch milliseconds, both included.
    states : tuple of DeadState
    """

    task: str = ""
    queue: str = ""
    kind: str = ""
    exception: str = ""
    fingerprint: str = ""
    since: int = 0
    until: int = 0
    states: tuple[DeadState, ...] = OPEN_STATES

    def __post_init__(self) -> None:
        if self.kind and self.kind not in frozenset(FailureKind):
            raise InvalidInput(
                f"kind={self.kind!r} is not a failure kind; use one of {[str(kind) for kind in FailureKind]}"
            )
        if self.until and self.since > self.until:
            raise InvalidInput(f"since={self.since} is after until={self.until}, so nothing can match; swap them")

    def fits(self, job: Job) -> bool:
        """Return whether a job matches."""
        failure = job.failure
        kind, exception = (str(failure.kind), failure.exception) if failure else ("", "")
        return (
            job.status is JobStatus.FAILED
            and state_of(job) in self.states
            and self.task in ("", job.task)
            and self.queue in ("", job.queue)
            and self.kind in ("", kind)
            and self.exception in ("", exception, exception.rpartition(".")[2])
            and self.fingerprint in ("", failure.fingerprint if failure else "")
            and self.since <= job.finished_at
            and (not self.until or job.finished_at <= self.until)
        )
