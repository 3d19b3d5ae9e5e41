"""`JobRepo`: the whole life of a job; every write is conditional. This is the class that users' code calls."""

from __future__ import annotations

from jobclaim.jobs.repo.deciding import Deciding
from jobclaim.jobs.repo.resuming import Resuming
from jobclaim.jobs.repo.scoped import Scoped
from jobclaim.jobs.repo.submitting import Submitting

__all__ = ["JobRepo"]


class JobRepo(Submitting, Scoped, Deciding, Resuming):
    """Submit, claim and end jobs.

    A repo remembers the claims made through it, thread-safely, so that ``update_status(job_id, "COMPLETED")`` after
    ``claim_job(job_id)`` is fenced by that claim. ``with repo.claimed(job_id) as job:`` does both.

    Parameters
    ----------
    client : optional
        A boto3 DynamoDB client; default: created from settings on first use, once per process.
    table_name : str, optional
        Default `Settings.job_table`.
    settings : Settings, optional
        Without settings every valid queue name is accepted.
    clock : Clock
        Returns the current time in epoch milliseconds.
    sleep : callable
        Waits for a number of seconds between retries of a request.
    """
