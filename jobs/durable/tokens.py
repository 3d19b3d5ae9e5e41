"""Tokens of waits: a token authorizes resuming that job's wait of that name, and nothing else.

A token is an HMAC of job and name with a secret of the run, which is stored only in the job's item. A body therefore
gets the same token in every attempt, and only those who may read the table, or were given the token, know it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from jobclaim.jobs.model import Job

DIGITS: Final = 40
"""Hexadecimal digits of a token: 160 bits."""


def new_secret() -> str:
    """Generate the secret of a run's tokens."""
    return secrets.token_hex(16)


def token_of(job_id: str, name: str, secret: str) -> str:
    """Return the token of one wait."""
    return hmac.new(secret.encode(), f"{job_id}\n{name}".encode(), hashlib.sha256).hexdigest()[:DIGITS]


def is_token_of(job: Job, name: str, token: str) -> bool:
    """Check whether a token belongs to a wait, in constant time."""
    # compared even if the job issued no token, so that the time reveals nothing
    secret = job.wait_secret or new_secret()
    return hmac.compare_digest(token_of(job.job_id, name, secret).encode(), token.encode("utf-8", "replace"))
