"""Completions that the claim's owner plans and another process of its worker writes.

::

    child          body returned ──▶ plan_completion: checked, encoded, fenced by the claim
                                          │  with the child's answer, through a pipe
    main process                          └──▶ write_planned, or a request of its own and then announce_planned

The request is complete when it is planned, so whoever makes it makes the same move: the one of
`jobclaim.jobs.transitions`, conditional on the claim's token.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from structlog.contextvars import bound_contextvars

from jobclaim.jobs.model import JobStatus
from jobclaim.jobs.repo.announcing import announce_completion
from jobclaim.jobs.repo.lasting import Lasting
from jobclaim.jobs.repo.owning import lost_claim
from jobclaim.jobs.transitions import Move


class PlannedCompletion(NamedTuple):
    """A completion, ready to be written by any process; it can be pickled.

    Attributes
    ----------
    job_id, token : str
        The job, and the token of its claim.
    request : bytes
        JSON of the UpdateItem.
    until : int
        The end of the lease, epoch milliseconds: until then the write is retried.
    duration_ms : int
        Milliseconds from the claim to the end of the body.
    context : dict
        Fields of the log lines about the job.
    runs : dict
        What the run adds to the statistics, as `jobclaim.jobs.storage.statistics.Statistics.counted` returns it.
    bound : dict
        Fields that the planning process had bound to its log lines.
    """

    job_id: str
    token: str
    request: bytes
    until: int
    duration_ms: int
    context: dict[str, Any]
    runs: dict[Any, int]
    bound: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Handing(Lasting):
    """Plans and writes completions."""

    def plan_completion(self, job_id: str, token: str, result: Any, *, ttl: float | None = None) -> PlannedCompletion:
        """Plan to complete a job with a result, as `update_status` would; the claim stands until that is written.

        Parameters
        ----------
        ttl : float, optional
            As in `update_status`.

        Raises
        ------
        ClaimLost, InvalidPayload, PayloadTooLarge, StoreUnavailable
            The result cannot be stored, or the claim has ended; nothing was written.
        """
        claim, now = self._claim_on(job_id, JobStatus.COMPLETED, token), self.clock()
        done = self._with_last_report(claim, self._completed(claim, result, now, ttl))
        return PlannedCompletion(
            job_id=job_id,
            token=token,
            request=self.table.planned(claim, Move.COMPLETE, done),
            until=claim.lease_expires_at,
            duration_ms=done.finished_at - done.claimed_at,
            context=done.log_context(),
            runs=self.statistics.counted(Move.COMPLETE, claim, done) if self.settings.statistics else {},
        )

    def hand_over(self, planned: PlannedCompletion) -> None:
        """Forget the claim of a completion that another process writes."""
        self._forget(planned.job_id, planned.token)

    def write_planned(self, planned: PlannedCompletion) -> None:
        """Write a planned completion, and announce it. Retried until the lease ends.

        Raises
        ------
        ClaimLost
            The claim has ended; nothing was changed.
        StoreUnavailable
            Nothing is known of the write.
        """
        written = self.table.make(planned.request, until=planned.until)
        self._forget(planned.job_id, planned.token)
        stored = written.job
        # only the owner completes, once, under its token: so this was an earlier try of the same request
        mine = stored is not None and stored.status is JobStatus.COMPLETED and stored.claim_token == planned.token
        if not (written.applied or mine):
            raise lost_claim(planned.job_id, stored)
        self.announce_planned(planned)

    def announce_planned(self, planned: PlannedCompletion) -> None:
        """Log a completion that was written, and count its run."""
        with bound_contextvars(**planned.bound):
            announce_completion(planned.duration_ms, planned.context)
        if planned.runs:
            self.statistics.add(planned.runs)
