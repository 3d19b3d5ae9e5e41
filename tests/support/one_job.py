"""A repo with one job, `j`: its claims, and a claim that was lost."""

from __future__ import annotations

from typing import Any, Final

from jobclaim.jobs import Job, JobRepo
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

SETTINGS: Final = Settings(_env_file=None)
LARGE: Final = "x" * (SETTINGS.inline_payload_bytes + 1)
"""A payload that gets an item of its own."""


def one_job(clock: ManualClock) -> JobRepo:
    """Return a repo with the job."""
    made = model_repo(SETTINGS, clock)
    made.create_job("t", job_id="j")
    return made


def claimed(repo: JobRepo, **asked: Any) -> Job:
    """Claim the job."""
    claim = repo.claim_job("j", **asked)
    assert claim is not None
    return claim


def lost(repo: JobRepo, clock: ManualClock) -> Job:
    """Return a claim that recovery has ended."""
    claim = claimed(repo)
    other = JobRepo(repo.table.client(), settings=SETTINGS, clock=clock)
    other.update_status("j", "CANCELLED", token=claim.claim_token)
    return claim
