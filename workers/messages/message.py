"""A message's content: the job's id and the attempt that it is for, without the arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs import InvalidInput, Job, checks

HEADER: Final = "jobclaim"
MISADDRESSED: Final = "it names a job by an id or an attempt that no job can have"
TOKEN: Final = "claim_token"  # noqa: S105 - the name of a header
"""Added to a request by the worker's main process when the message arrives, never sent."""
DELIVERY: Final = "jobclaim_delivery"
"""The same for a plain task: identifies the delivery under which its body may claim."""


@dataclass(frozen=True, slots=True)
class Address:
    """The job that a message is for, and the number of claims before the one that it requests."""

    job_id: str
    attempt: int


def headers(job: Job) -> dict[str, Any]:
    """Celery headers that tie a message to the next attempt of a job."""
    return {HEADER: {"job_id": job.job_id, "attempt": job.attempt}}


def address(request: Any) -> Address | None:
    """Read the address of a request or of a message's headers; ``None`` if it names no possible job."""
    raw = request.get(HEADER)
    if not isinstance(raw, dict):
        return None
    try:
        job_id = checks.text(raw.get("job_id"), "job_id")
        return Address(job_id, checks.count(raw.get("attempt"), "attempt", least=0, most=checks.MAX_ATTEMPT))
    except InvalidInput:
        return None  # no job has such an id or attempt


def is_misaddressed(request: Any) -> bool:
    """Return whether a request, or a message's headers, names a job by an id or attempt that no job can have."""
    return request.get(HEADER) is not None and address(request) is None


def delivery_of(request: Any) -> str:
    """Read the key of a delivery in its worker; empty for a request outside of a worker."""
    return str(request.get(TOKEN) or request.get(DELIVERY) or "")
