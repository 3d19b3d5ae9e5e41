"""Who is in the middle of a body now: those are worth killing and freezing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jobclaim.jobs import JobRepo, JobStatus

WORTH: Final = ("chaos.slow", "chaos.fragile")
TAIL_BYTES: Final = 50_000


class Busy:
    """Looks into the table, past the proxies, and into the evidence.

    Parameters
    ----------
    evidence : Path
        The bodies' own lines, which name their processes.
    """

    def __init__(self, repo: JobRepo, evidence: Path) -> None:
        self._repo = repo
        self._evidence = evidence

    def children(self) -> dict[int, int]:
        """Give, by the main process of a worker, a child of it that runs a body of some length; both by their ids."""
        started = self._started()
        found = {}
        for job in self._repo.list_jobs(JobStatus.PROCESSING, queue="default", limit=100).jobs:
            child = started.get((job.job_id, str(job.attempt)))
            if child is not None and job.task in WORTH and job.lease_expires_at > self._repo.clock():
                found[int(job.worker_id.split(":")[1])] = child
        return found

    def _started(self) -> dict[tuple[str, str], int]:
        """The last bodies that started, and their processes."""
        if not self._evidence.exists():
            return {}
        with self._evidence.open("rb") as lines:
            lines.seek(max(0, self._evidence.stat().st_size - TAIL_BYTES))
            rows = [line.split() for line in lines.read().decode().splitlines()]
        return {(row[0], row[1]): int(row[3]) for row in rows[1:] if len(row) == 4}
