"""What outlasts an attempt: steps, progress and waits of a job that this repo claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from jobclaim.jobs.kept import Wait
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.repo.owning import Owning
from jobclaim.jobs.repo.running import Running


class Lasting(Owning):
    """Writes what later attempts find, each write fenced by the claim."""

    def running(self, job_id: str, *, token: str | None = None) -> Running:
        """Give what the body of a claimed job works with; the same one for each call under one claim.

        Parameters
        ----------
        token : str, optional
            Token of the claim; default the last claim of this repo on the job.

        Raises
        ------
        NotClaimed, ClaimLost
        """
        claim = self._claim_on(job_id, JobStatus.PROCESSING, token)
        known: Running | None = self._runs.get(claim.claim_token)
        return known or self._runs.keep(claim.claim_token, Running(self, claim))

    def held_of(self, task: str) -> list[Job]:
        """Give the jobs of one task that this repo has claimed and not ended."""
        return self._claims.of_task(task)

    def step(self, job_id: str, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life, and store its result with the job: one request.

        A later attempt gets the result without running the function, and without a read: its claim brings it. A
        function that raises records nothing. One that was under way when its process died runs again: it runs at least
        once, and is recorded at most once.

        Parameters
        ----------
        name : str
            Unique in the run; a loop puts its index into it.
        function : callable
            Also an asynchronous one, which is run to its end. Its result is of plain JSON values; one that is annotated
            with a pydantic model comes back as that. A tuple comes back as a list, in the first attempt too.

        Raises
        ------
        StepMismatch
            The name was used before for another function or with other arguments. Arguments that JSON cannot carry, a
            connection for instance, count by their type alone.
        InvalidInput, InvalidPayload, PayloadTooLarge
            Too many steps (before it runs), or a result that cannot be stored (after that).
        NotClaimed, ClaimLost, StoreUnavailable
        """
        return self.running(job_id).step(name, function, *args, **kwargs)

    def progress(
        self,
        job_id: str,
        done: float | None = None,
        total: float | None = None,
        message: str = "",
        *,
        checkpoint: Any = ...,
        flush: bool = False,
    ) -> None:
        """Tell how far a claimed job is: at most one write in `Settings.progress_seconds`, a request and a write unit.

        The first report of an attempt is written at once, and the last one when the next is due, with the next step, or
        with the end of the attempt, which costs nothing more. A process that is killed loses what was not written yet.

        Parameters
        ----------
        done, total : float, optional
            In units of the caller's own.
        checkpoint : JSON value, optional
            What the next attempt needs to go on from here: it finds it as `Job.checkpoint`.
        flush : bool
            Write it now.

        Raises
        ------
        ClaimLost
            The claim is over: the body must end, another attempt may be running.
        NotClaimed, InvalidInput, InvalidPayload, PayloadTooLarge
        """
        self.running(job_id).progress(done, total, message, checkpoint=checkpoint, flush=flush)

    def wait_for(self, job_id: str, name: str, *, timeout: float | None = None) -> Wait | None:
        """Let a claimed job wait for a resume without a worker, unless it came already: one request.

        Returns
        -------
        Wait or None
            With the resume's ``payload``. ``None``: the attempt is over, uncharged, and the job waits; return now. The
            next attempt starts from the beginning, finished steps give their results, and this call gives the payload.

        Raises
        ------
        WaitTimeout
            Nobody resumed it within ``timeout`` seconds since it first waited; default and at most 400 days.
        NotClaimed, ClaimLost, InvalidInput, StoreUnavailable
        """
        wait = self.running(job_id).wait(name, timeout=timeout)
        return None if wait is None else replace(wait, payload=self.large.value(wait.payload))

    def sleep_until(self, job_id: str, when: datetime | int, *, name: str | None = None) -> bool:
        """Let a claimed job wait for a time without a worker; ``True`` where that time has come.

        ``False``: the attempt is over, uncharged, and the job is started again then; return now.
        """
        return self.running(job_id).wake_at(when, name=name)

    def wait_token(self, job_id: str, name: str) -> str:
        """Give the token with which alone anybody may `resume` that wait of a claimed job, the same in each attempt."""
        return self.running(job_id).wait_token(name)
