"""What a claim's owner may write: each way to end its attempt, fenced by the claim."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.effects.collected import Effects
from jobclaim.jobs.effects.evidence import evidence
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.errors import ClaimLost, IllegalTransition, InvalidInput, JobError, NotClaimed
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.model import Failure, FailureKind, Job, JobStatus
from jobclaim.jobs.protocol import lifecycle, releases
from jobclaim.jobs.protocol.submission import lease_ms, queue_name
from jobclaim.jobs.repo import delivery, room
from jobclaim.jobs.repo.announcing import announce_end
from jobclaim.jobs.repo.reading import Reading
from jobclaim.jobs.transitions import Move, owner_move

UNCHANGED: Final[Any] = object()
"""Means "unchanged" where ``None`` is a value."""


class Owning(Reading):
    """Ends attempts."""

    def update_status(
        self,
        job_id: str,
        status: str | JobStatus,
        *,
        result: Any = None,
        error: BaseException | str | Failure | None = None,
        kind: FailureKind | None = None,
        ttl: float | None = None,
        token: str | None = None,
        effects: Effects | Iterable[Any] = (),
        beside: Sequence[Job] = (),
    ) -> Job:
        """End the attempt that this repo claimed as COMPLETED, FAILED or CANCELLED. Retried until the lease ends.

        Afterwards the log, the hooks and, for a critical task, the alerts are informed, whoever called this method.

        Parameters
        ----------
        result
            Plain JSON values; with COMPLETED only.
        error : exception, str or Failure, optional
            With FAILED and CANCELLED only. Default, with FAILED: the exception being handled, if any.
        ttl : float, optional
            With COMPLETED only: seconds for which the job answers equal submissions, instead of the submitted value.
        token : str, optional
            Token of the claim; default: the last claim of this repo on the job. Required where one process may claim a
            job again while an older attempt of it is still running.
        effects : Effects, or iterable of dict, optional
            With COMPLETED only: writes to the caller's own tables, made with the completion in one transaction or not
            at all, as collected by `Effects` or in the form of TransactWriteItems.
        beside : sequence of Job, optional
            New jobs that are created with the completion in the same transaction, for instance planned in a
            `Transaction`.

        Raises
        ------
        EffectRefused
            A condition of an effect did not hold, or DynamoDB could not make it. Nothing was changed, and the claim
            still stands: the caller ends the attempt otherwise, or raises and its worker ends it.
        InvalidEffect
            DynamoDB could never make the effects in one transaction. The claim still stands.
        NotClaimed
            No claim was made through this repo.
        ClaimLost
            The claim has ended: the lease ended and recovery acted, or another caller has it. Nothing was changed.
        IllegalTransition, InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        status_ = checks.status(status)
        move = owner_move(status_)
        if move is None or status_ is JobStatus.PENDING:
            raise IllegalTransition(f"update_status cannot make a job {status_}; use claim_job, reschedule or release")
        if result is not None and status_ is not JobStatus.COMPLETED:
            raise InvalidInput(f"result is stored with COMPLETED only, not with {status_}; pass error instead")
        if error is not None and status_ is JobStatus.COMPLETED:
            raise InvalidInput("error is stored with FAILED only, not with COMPLETED; pass result instead")
        if effects and status_ is not JobStatus.COMPLETED:
            raise InvalidInput(f"effects are made with COMPLETED only, not with {status_}; leave them out")
        claim, now = self._claim_on(job_id, status_, token), self.clock()
        if status_ is JobStatus.COMPLETED:
            completed = self._completed(claim, result, now, ttl)
            collected = Effects.of(effects, self.own_tables) if effects or beside else None
            if collected is None or not (len(collected) or beside):
                return self._announced(self._end(claim, move, completed))
            return self._announced(self._end_with(claim, completed, collected, beside))
        if error is None and status_ is JobStatus.FAILED:
            error = sys.exc_info()[1]
        cancelled = FailureKind.CANCELLED if status_ is JobStatus.CANCELLED else None
        failure = describe(error, now, kind or cancelled, task=claim.task)
        return self._announced(
            self._end(claim, move, lifecycle.ended_badly(claim, move, status_, failure, now, self.retention))
        )

    def _completed(self, claim: Job, result: Any, now: int, ttl: float | None) -> Job:
        """Return the job with its result. Raises `InvalidInput`, `InvalidPayload`, `StoreUnavailable`."""
        limit, until = self.settings.max_result_bytes, delivery.current().write_until(claim, now)
        result = self.large.fitting(result, "result", limit, until=until)
        window = None if ttl is None else checks.positive(ttl, "ttl", checks.MAX_WINDOW_SECONDS)
        return lifecycle.completed(claim, result, now, self.retention, window=window)

    def _announced(self, job: Job) -> Job:
        announce_end(self, job)
        return job

    def reschedule(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        error: BaseException | str | Failure | None = None,
        kind: FailureKind | None = None,
        payload: Any = UNCHANGED,
        queue: str | None = None,
        token: str | None = None,
    ) -> Job:
        """End the attempt and schedule another one at ``available_at``: a charged retry. The caller sends its message.

        The caller decides whether to try again: check `Job.attempts_left`, which this method does not.

        Parameters
        ----------
        payload, queue : optional
            For the following attempts; default: unchanged.

        Raises as `update_status`, and `InvalidInput` or `InvalidPayload` before anything is written.
        """
        claim, now = self._claim_on(job_id, JobStatus.PENDING, token), self.clock()
        at = max(now, checks.moment(available_at, "available_at", now))
        failure = describe(error, now, kind, task=claim.task) if error is not None else None
        after = lifecycle.pending_again(claim, Move.RETRY, failure, now, at, charge=True)
        if payload is not UNCHANGED:
            inline, until = room.for_payload(after, self.settings), delivery.current().write_until(claim, now)
            after = self.large.replaced(after, payload, inline=inline, until=until)
        if queue is not None:
            name = queue_name(queue, claim.task, self.settings, self._any_queue)
            longest = max(claim.lease_ms, lease_ms(None, name, claim.task, self.settings))
            after = replace(after, queue=name, lease_ms=longest)
        return self._end(claim, Move.RETRY, after)

    def release(
        self,
        job_id: str,
        *,
        available_at: int | datetime | None = None,
        reason: str = "",
        held: str = releases.Held.CALLER,
        started: bool = True,
        slot: int = 0,
        token: str | None = None,
    ) -> Job:
        """Release the job without charging the attempt: a shutdown, a snooze, a limit. The caller sends its message.

        A job whose body ran and that was released often waits longer than it asked for: otherwise a body that always
        releases its job at once would loop forever (`lifecycle.RELEASE_PACES`).

        Parameters
        ----------
        reason : str
            Kept in the job and its history, and shown to people.
        held : str
            What holds the job, one of `jobclaim.jobs.protocol.releases.Held`.
        started : bool
            ``False`` if the body did not run: the job may then still expire before its start (``start_by``).
        slot : int
            Turn that a rate limit reserved for the next attempt, in epoch milliseconds.

        Raises as `update_status`.
        """
        claim, now = self._claim_on(job_id, JobStatus.PENDING, token), self.clock()
        soonest = now + lifecycle.least_wait_ms(claim) if started else now
        at = max(soonest, checks.moment(available_at, "available_at", now))
        after = lifecycle.pending_again(
            claim,
            Move.RELEASE,
            None,
            now,
            at,
            charge=False,
            started=started,
            slot=checks.moment(slot, "slot", now),
            released=releases.release_of(claim, held, reason, now),
        )
        return self._end(claim, Move.RELEASE, after)

    def holds(self, claim: Job) -> bool:
        """Check whether this repo made a claim and has not seen it end."""
        held = self._claims.get(claim.job_id)
        return held is not None and held.claim_token == claim.claim_token

    def _claim_on(self, job_id: str, status: JobStatus, token: str | None) -> Job:
        held = self._claims.get(checks.text(job_id, "job_id"))
        if token is None:
            held = delivery.current().claim_of(job_id, held)
        elif held is None or token != held.claim_token:
            checks.text(token, "token", checks.MAX_TOKEN)
        if held is not None and token in (None, held.claim_token):
            run = self._runs.get(held.claim_token)
            return run.job if run else held
        if token is None:
            raise NotClaimed(job_id, status)
        job = self.get_job(job_id, large=False)  # claimed elsewhere, by the code that passed us the token
        if job.status is not JobStatus.PROCESSING or job.claim_token != token:
            raise lost_claim(job_id, job)
        return job

    def _end_with(self, claim: Job, done: Job, effects: Effects, beside: Sequence[Job]) -> Job:
        """Complete with effects; if they are refused, the caller may collect others and try again."""
        writes = effects.seal()
        try:
            done = replace(done, effects=evidence(writes))
            return self._end(claim, Move.COMPLETE_WITH_EFFECTS, done, beside=beside, along=writes)
        except JobError:
            effects.reopen()
            raise

    def _end(
        self, claim: Job, move: Move, after: Job, *, beside: Sequence[Job] = (), along: Sequence[Write] = ()
    ) -> Job:
        after, where = self._with_last_report(claim, after), delivery.current()
        with where.writing():
            until = where.write_until(claim, self.clock())
            written = self.table.apply(claim, move, after, until=until, beside=beside, along=along)
        if written.made:
            self.attempt_ended(claim, written.made)
            return written.made
        raise self.attempt_lost(claim, written.job)

    def attempt_ended(self, claim: Job, after: Job) -> None:
        """Forget a claim whose end is written, and notify the delivery in which it was made."""
        self._forget(claim.job_id, claim.claim_token)
        delivery.current().ended(self, claim, after)

    def attempt_lost(self, claim: Job, now: Job | None) -> ClaimLost:
        """Forget a claim that has ended, notify its delivery, and return the error that reports it."""
        self._forget(claim.job_id, claim.claim_token)
        lost = lost_claim(claim.job_id, now)
        delivery.current().lost(claim, str(lost))
        return lost

    def _with_last_report(self, claim: Job, after: Job) -> Job:
        run = self._runs.get(claim.claim_token)
        return run.with_last_report(after) if run else after

    def _forget(self, job_id: str, token: str) -> None:
        self._claims.forget(job_id, token)
        self._runs.forget(token)


def lost_claim(job_id: str, now: Job | None) -> ClaimLost:
    """Return the error for a claim that has ended; ``now`` is the job as stored."""
    where = f"it is {now.status} in attempt {now.attempt}" if now else "it no longer exists"
    return ClaimLost(
        f"the claim on job {job_id!r} has ended: {where}; nothing was changed, so drop the outcome of this attempt"
    )
