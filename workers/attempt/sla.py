"""Whether a job has waited longer than its queue promises, as its `claim.acquired` line says."""

from __future__ import annotations

from jobclaim.jobs import Job
from jobclaim.settings import Settings


def is_missed(job: Job, waited: float, settings: Settings) -> bool:
    """Return whether a claimed job waited too many seconds; not in a queue that is not configured here."""
    for queue in settings.queues:
        if queue.name == job.queue:
            return waited > queue.sla_seconds
    return False
