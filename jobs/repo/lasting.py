"""State that outlasts an attempt: steps, progress and waits of a job that this repo claimed."""

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
    """Writes state for later attempts; each write is fenced by the claim."""

    def running(self, job_id: str, *, token: str | None = None, home: int | None = None) -> Running:
        """Return the object that the body of a claimed job works with; each call under one claim returns the same one.

        Parameters
        ----------
        token : str, optional
            Token of the claim; default the last claim of this repo on the job.
        home : int, optional
            Identity of the body's thread, the only one that may wait; default the calling one.

        Raises
        ------
        NotClaimed, ClaimLost
        """
        claim = self._claim_on(job_id, JobStatus.PROCESSING, token)
        known: Running | None = self._runs.get(claim.claim_token)
        return known or self._runs.keep(claim.claim_token, Running(self, claim, home))

    def held_of(self, task: str) -> list[Job]:
        """Return the jobs of one task that this repo has claimed and not yet ended."""
        return self._claims.of_task(task)

    def step(self, job_id: str, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life and store its result with the job, in one request.

        A later attempt gets the result without running the function and without a read: its claim brings the result. A
        function that raises records nothing. A function that was running when its process died runs again: it runs at
        least once and is recorded at most once.

        Parameters
        ----------
        name : str
            Unique in the run; in a loop, include the index.
        function : callable
            May be asynchronous; it is then run to its end. Its result consists of plain JSON values; a result annotated
            with a pydantic model is returned as that model. A tuple is returned as a list, in the first attempt too.

        Raises
        ------
        StepMismatch
            The name was used before for another function or with other arguments. Arguments that JSON cannot carry,
            such as a connection, are compared by their type alone.
        InvalidInput, InvalidPayload, PayloadTooLarge
            Too many steps (before the function runs), or a result that cannot be stored (after it ran).
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
        """Report the progress of a claimed job: at most one request and write unit per `Settings.progress_seconds`.

        The first report of an attempt is written at once; the last one when the next write is due, with the next step,
        or with the end of the attempt, which costs nothing extra. A process that is killed loses what was not yet
        written.

        Parameters
        ----------
        done, total : float, optional
            How much is done and how much there is, in any unit.
        checkpoint : JSON value, optional
            What the next attempt needs to continue from here; it finds it as `Job.checkpoint`.
        flush : bool
            Write the report now, even if no write is due.

        Raises
        ------
        ClaimLost
            The claim has ended: the body must stop, because another attempt may be running.
        NotClaimed, InvalidInput, InvalidPayload, PayloadTooLarge
        """
        self.running(job_id).progress(done, total, message, checkpoint=checkpoint, flush=flush)

    def wait_for(self, job_id: str, name: str, *, timeout: float | None = None) -> Wait | None:
        """Suspend a claimed job until it is resumed, or return at once if it was resumed already. Costs one request.

        Returns
        -------
        Wait or None
            The wait with the resume's ``payload``. ``None``: the attempt has ended uncharged and the job waits; return
            now. The next attempt starts from the beginning, finished steps return their results, and this call returns
            the payload.

        Raises
        ------
        WaitTimeout
            The job was not resumed within ``timeout`` seconds of its first wait; default and maximum 400 days.
        NotClaimed, ClaimLost, InvalidInput, StoreUnavailable
        """
        wait = self.running(job_id).wait(name, timeout=timeout)
        return None if wait is None else replace(wait, payload=self.large.value(wait.payload))

    def sleep_until(self, job_id: str, when: datetime | int, *, name: str | None = None) -> bool:
        """Suspend a claimed job, without a worker, until a time; return ``True`` if that time has come.

        ``False``: the attempt has ended uncharged, and the job is started again at that time; return now.
        """
        return self.running(job_id).wake_at(when, name=name)

    def wait_token(self, job_id: str, name: str) -> str:
        """Return the token that authorizes `resume` of that wait of a claimed job; it is the same in each attempt."""
        return self.running(job_id).wait_token(name)
