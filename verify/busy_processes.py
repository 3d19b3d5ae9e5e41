"""Find the child processes that run a body now: these are the ones to kill and freeze."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from jobclaim import JobRepo, JobStatus

TARGET_TASKS: Final = ("verify.slow", "verify.fragile")
TAIL_BYTES: Final = 50_000


class BusyProcesses:
    """Reads the job table, bypassing the proxies, and the evidence.

    Parameters
    ----------
    evidence : Path
        File with the bodies' own lines, which name their processes.
    """

    def __init__(self, repo: JobRepo, evidence: Path) -> None:
        self._repo = repo
        self._evidence = evidence

    def children(self, *, prefer_fragile: bool = False) -> dict[int, int]:
        """Return, by the process id of a worker's main process, that of a child which runs a body of some length.

        With ``prefer_fragile``, prefer children that run a body whose orphan fails.
        """
        started, found, fragile = self._started(), dict[int, int](), dict[int, int]()
        for job in self._repo.list_jobs(JobStatus.PROCESSING, queue="default", limit=100).jobs:
            child = started.get((job.job_id, str(job.attempt)))
            if child is None or not job.worker_id or job.lease_expires_at <= time.time() * 1000:
                continue
            main = int(job.worker_id.split(":")[1])
            if job.task in TARGET_TASKS:
                found[main] = child
            if job.task == "verify.fragile":
                fragile[main] = child
        return (fragile or found) if prefer_fragile else found

    def _started(self) -> dict[tuple[str, str], int]:
        """Return the process of each body that started lately, by job id and attempt."""
        if not self._evidence.exists():
            return {}
        with self._evidence.open("rb") as lines:
            lines.seek(max(0, self._evidence.stat().st_size - TAIL_BYTES))
            rows = [line.split() for line in lines.read().decode().splitlines()]
        return {(row[2], row[3]): int(row[5]) for row in rows[1:] if len(row) == 7 and row[0] == "start"}
