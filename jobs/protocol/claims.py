"""The claims that this process holds. A claim is a capability: whoever knows the token may end the attempt."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

from jobclaim.jobs.locks import ProcessLock
from jobclaim.jobs.model import Job

CAPACITY: Final = 10_000
"""Maximum claims remembered at once, far more than one process runs. The oldest is forgotten first."""


def new_token() -> str:
    """Generate a new claim token: 64 random bits as text."""
    return secrets.token_hex(8)


class ClaimBook:
    """Thread-safe, bounded memory of the jobs that were claimed through one `JobRepo`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._claims: OrderedDict[str, Job] = OrderedDict()
        self._unanswered: OrderedDict[str, str] = OrderedDict()
        self._lock = ProcessLock()

    def remember(self, job: Job) -> None:
        """Store a claimed job; it replaces an earlier claim on the same job."""
        with self._lock:
            self._claims.pop(job.job_id, None)
            self._claims[job.job_id] = job
            if len(self._claims) > self._capacity:
                self._claims.popitem(last=False)

    def get(self, job_id: str) -> Job | None:
        """Return the claimed job as it was claimed, or ``None``."""
        return self._claims.get(job_id)  # one operation of a dictionary needs no lock

    def forget(self, job_id: str, token: str) -> None:
        """Drop the claim with this token; a later claim stays."""
        with self._lock:
            held = self._claims.get(job_id)
            if held is not None and held.claim_token == token:
                del self._claims[job_id]

    def of_task(self, task: str) -> list[Job]:
        """Return the claimed jobs of one task."""
        with self._lock:
            return [job for job in self._claims.values() if job.task == task]

    def add_unanswered(self, job_id: str, token: str) -> None:
        """Store a claim without an answer, by its token: it may have been made."""
        with self._lock:
            self._unanswered[token] = job_id
            if len(self._unanswered) > self._capacity:
                self._unanswered.popitem(last=False)

    def take_unanswered(self) -> tuple[str, str] | None:
        """Remove and return the oldest claim without an answer, job id and token; only one thread gets it."""
        if not self._unanswered:  # as almost always
            return None
        with self._lock:
            if not self._unanswered:
                return None
            token, job_id = self._unanswered.popitem(last=False)
            return job_id, token
