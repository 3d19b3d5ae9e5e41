"""`JobRepo`: the whole life of a job, every write conditional. This is what users' code calls."""

from __future__ import annotations

from jobclaim.jobs.repo.deciding import Deciding
from jobclaim.jobs.repo.resuming import Resuming
from jobclaim.jobs.repo.scoped import Scoped
from jobclaim.jobs.repo.submitting import Submitting

__all__ = ["JobRepo"]


class JobRepo(Submitting, Scoped, Deciding, Resuming):
    """Submit, claim and end jobs.

    A repo remembers the claims that were made through it, thread-safely, so that ``update_status(job_id, "COMPLETED")``
    after ``claim_job(job_id)`` is fenced by that claim. ``with repo.claimed(job_id) as job:`` does both.

    Parameters
    ----------
    client : optional
        A boto3 DynamoDB client; default: made from settings on first use, in each process anew.
    table_name : str, optional
        Default `Settings.job_table`.
    settings : Settings, optional
        Without settings every legal queue name is accepted.
    clock : Clock
        Gives epoch milliseconds.
    sleep : callable
        Waits that many seconds between tries of a request.
    """
