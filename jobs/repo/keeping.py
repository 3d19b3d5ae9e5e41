"""What a claim stores besides the job itself, and how it is written: fenced, and with the latest report of the body."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobclaim.jobs.durable.reports import Reports
from jobclaim.jobs.errors import ClaimLost, PayloadTooLarge, StoreUnavailable
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.repo import delivery, room
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move

if TYPE_CHECKING:
    from jobclaim.jobs.repo.owning import Owning

log = get_logger("jobclaim.jobs")

MAX_NAME: Final = 100
"""Maximum length in characters of a step's or a wait's name."""


class Keeping:
    """The state of one claim's body in this process, and its writes.

    Parameters
    ----------
    claim : Job
        The job as it was claimed.
    home : int, optional
        Identity of the body's thread; default the calling one.
    """

    def __init__(self, repo: Owning, claim: Job, home: int | None = None) -> None:
        self._repo = repo
        self._home = home or threading.get_ident()
        self._lock = threading.RLock()
        self._names: dict[str, threading.Lock] = {}
        self._sleeps = itertools.count(1)
        self._over = ""
        self.reports = Reports(claim, repo.settings.progress_seconds)
        self.job = claim
        """The job in the store, as far as this process knows."""

    def with_last_report(self, after: Job) -> Job:
        """Add the body's last report to a job whose attempt ends: it costs no write of its own."""
        with self._lock:
            kept = after.status is not JobStatus.COMPLETED  # nothing reads the checkpoint of a completed job
            try:
                return self._with_reports(after, checkpoint=kept)
            except (PayloadTooLarge, StoreUnavailable) as error:
                log.warning("checkpoint.not_written", reason=str(error), **self.job.log_context())
                return self._with_reports(after, checkpoint=False)

    def _with_reports(self, job: Job, *, checkpoint: bool = True) -> Job:
        if self.reports.progress is not None:
            job = replace(job, progress=self.reports.progress)
        if checkpoint and self.reports.checkpoint is not ...:
            value = self.reports.checkpoint
            stored = None if value is None else self._fitting(value, "checkpoint", without=True)
            job = replace(job, checkpoint=stored)
        return job

    def _go_on(self) -> None:
        if self._over:
            raise ClaimLost(f"the attempt of job {self.job.job_id!r} has ended: {self._over}; let the body return")

    def _write(self, move: Move, after: Job) -> bool:
        """Make a move; return ``False`` if the job changed under the same claim, so that the caller reads it again.

        Raises
        ------
        ClaimLost, StoreUnavailable
        """
        where = delivery.current()
        until = where.write_until(self.job, self._repo.clock()) if move is not Move.PROGRESS else None
        written = self._repo.table.apply(self.job, move, after, until=until)
        if written.applied:
            self.job = written.made or after
            self.reports.written(self._repo.clock())
            return True
        self._catch_up(written)
        return False

    def _catch_up(self, written: Written) -> None:
        stored = written.job
        is_current = stored is not None and stored.claim_token == self.job.claim_token
        if stored is not None and is_current and stored.status is JobStatus.PROCESSING:
            self.job = stored
            return
        claim, self._over = self.job, "its claim has ended"
        raise self._repo.attempt_lost(claim, stored)

    def _fits(self, checkpoint: Any) -> None:
        if not self._repo.large.enabled and not isinstance(checkpoint, (int, float)):
            self._fitting(checkpoint, "checkpoint", without=True)

    def _fitting(self, value: Any, what: str, *, without: bool = False) -> Any:
        """Return a value in the form in which it fits the item, ``without`` the present checkpoint if the value
        replaces that.
        """
        job = replace(self.job, checkpoint=None) if without else self.job
        return room.fitting(job, value, what, self._repo.large, self._repo.settings, until=self.job.lease_expires_at)
