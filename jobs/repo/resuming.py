"""Resuming: what people and other programs send to a waiting job so that its body continues."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.durable import tokens
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import refuse_mark
from jobclaim.jobs.errors import IllegalTransition, JobNotFound, ResumeRefused, WrongWaitToken
from jobclaim.jobs.kept import MAX_WAITS, Wait
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import durable, lifecycle
from jobclaim.jobs.repo import room
from jobclaim.jobs.repo.reading import Reading
from jobclaim.jobs.repo.running import wait_name
from jobclaim.jobs.transitions import Move

log = get_logger("jobclaim.jobs")

ROUNDS: Final = 8
"""Attempts to read a job that keeps changing."""
MAX_BY: Final = 200


class Resuming(Reading):
    """Resumes waiting jobs."""

    def resume(
        self, job_id: str, name: str, payload: Any = None, *, token: str | None = None, by: str = "a program"
    ) -> Job:
        """Send a job the payload it waits for and start it again at once. Costs two requests and the job's message.

        A resume that arrives before the body waits is kept. While the job runs or has not begun, any name is accepted;
        while it waits for another name, only names that the body waited for before or issued a token for. The first
        resume of a name counts. An equal second one succeeds and starts nothing.

        Parameters
        ----------
        payload : JSON value
            What ``wait_for`` returns in the body.
        token : str, optional
            What ``wait_token`` returned in the body. If it is passed, it must be right; a program that may write to the
            table needs none.
        by : str
            Stored with the job: who resumed it.

        Raises
        ------
        ResumeRefused
            The job waits for another name, was resumed with another payload, is past its deadline or has ended, or the
            token does not belong to the wait.
        JobNotFound, InvalidInput, InvalidPayload, PayloadTooLarge, StoreUnavailable
        """
        checks.text(job_id, "job_id")
        wait_name(name)
        refuse_mark(payload, "payload")
        codec.encode(payload, limit=self.settings.max_payload_bytes if not self.large.enabled else None)
        job = self._open_or_ended(job_id)
        for _ in range(ROUNDS):
            if token is not None and not tokens.is_token_of(job, name, checks.text(token, "token", checks.MAX_ID)):
                raise WrongWaitToken(
                    f"the token is not that of wait {name!r} of job {job_id!r}; use the one that wait_token() "
                    "returned for it"
                )
            known = job.wait_named(name)
            if known is not None and known.resumed_at:
                return self._reopen(job, known, payload)
            self._check(job, name, known)
            after = self._resumed(job, known or Wait(name=name), payload, checks.optional_text(by, "by", MAX_BY))
            move = Move.RESUME if job.status is JobStatus.PENDING else Move.RESUME_EARLY
            written = self.table.apply(job, move, after)
            if written.made:
                log.info("wait.resumed", wait=name, early=job.waits_for != name, **job.log_context())
                if job.waiting is not None and job.waits_for == name:
                    self.send(after)
                return written.made
            if written.job is None:
                raise JobNotFound(job_id)
            job = written.job
        raise IllegalTransition(f"job {job_id!r} changed {ROUNDS} times while it was resumed; resume it again")

    def _open_or_ended(self, job_id: str) -> Job:
        job = self.table.get(job_id)
        if job is None or lifecycle.is_gone(job, self.clock()):
            raise JobNotFound(job_id)
        return job

    def _resumed(self, job: Job, wait: Wait, payload: Any, by: str) -> Job:
        now = self.clock()
        stored = room.fitting(job, payload, "the payload", self.large, self.settings)
        return durable.resumed(
            job, replace(wait, resumed_at=now, payload=stored, by=by, nonce=secrets.token_hex(4)), now
        )

    def _reopen(self, job: Job, known: Wait, payload: Any) -> Job:
        """Answer a second resume, which succeeds only if its payload is that of the first."""
        if codec.encode(self.large.value(known.payload)) == codec.encode(payload):
            return job
        raise ResumeRefused(
            f"wait {known.name!r} of job {job.job_id!r} was already resumed with another payload by "
            f"{known.by or 'a program'!r}, and the first resume counts; `jobclaim show` prints it"
        )

    def _check(self, job: Job, name: str, known: Wait | None) -> None:
        """Refuse a resume that no body would ever receive. Raises `ResumeRefused`, `InvalidInput`."""
        if not job.status.is_open:
            raise ResumeRefused(f"job {job.job_id!r} is {job.status}; only an open job can be resumed")
        if known is not None and known.timed_out:
            raise ResumeRefused(
                f"wait {name!r} of job {job.job_id!r} passed its deadline at {known.until} (epoch milliseconds) "
                "without a resume; retry the job if its body should wait again"
            )
        if known is not None:
            return
        if (waiting := job.waiting) is not None:
            raise ResumeRefused(
                f"job {job.job_id!r} waits for {waiting.name!r}, not for {name!r}; resume it under that name"
            )
        room.check_number(len(job.waits), MAX_WAITS, "waits", "use fewer names, or submit other jobs")
