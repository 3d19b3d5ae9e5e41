"""Jobs that have failed."""

from __future__ import annotations

from jobclaim.jobs import FailureKind, Job, JobRepo


def failed(repo: JobRepo, *job_ids: str, kind: FailureKind = FailureKind.PERMANENT) -> list[Job]:
    """Submit, claim and fail jobs of one task."""
    found = []
    for job_id in job_ids:
        repo.create_job("shop.charge", job_id=job_id)
        repo.claim_job(job_id)
        found.append(repo.update_status(job_id, "FAILED", error=ValueError("it broke"), kind=kind))
    return found
