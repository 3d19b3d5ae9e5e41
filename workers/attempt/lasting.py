"""What `jobclaim.workers.task.JobTask` knows of what outlasts an attempt: steps, progress and waits.

In a worker each call goes to the claim that the body holds; see `jobclaim.jobs.repo.running` for the protocol. A call
without a job, made directly or in eager mode, runs its steps, tells its progress to nobody and sleeps no second; a wait
gets the payload that a test has set: `jobclaim.workers.attempt.eagerly`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, NoReturn

from celery import Task
from celery.exceptions import Ignore

from jobclaim.jobs import InvalidInput, Job, Suspended
from jobclaim.jobs.repo.running import Running
from jobclaim.workers.attempt.eagerly import Eagerly
from jobclaim.workers.telemetry import traces

_body: ContextVar[Running | None] = ContextVar("body", default=None)

NOWHERE: Final = (
    "was called in a thread of which nothing tells whose job it works on: this process runs several jobs of task "
    "{task!r}; start the thread's function in a copy of the body's context: contextvars.copy_context().run(...)"
)


class Waits(Ignore):
    """The attempt is over, uncharged, and its job waits without a worker."""


class LastingTask(Task):
    """A task whose body may keep results, tell its progress, and wait without a worker."""

    abstract = True

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life: ``self.step("charge", charge_card, order_id)``.

        Its result is stored with the job, for one request. A later attempt, after a retry or a crash, gets it without
        running the function and without a read. A function that raises records nothing. One that was under way when
        its process died runs again: it runs at least once, and is recorded at most once.

        Parameters
        ----------
        name : str
            Unique in the job; in a loop with its index.
        function : callable
            Also an asynchronous one, which is run to its end. Its result is of plain JSON values; one that is annotated
            with a pydantic model comes back as that.

        Raises
        ------
        jobs.StepMismatch
            The name was used before for another function or with other arguments.
        jobs.ClaimLost
            The claim is over: another attempt may be running. Let the body end.
        jobs.InvalidPayload, jobs.PayloadTooLarge, jobs.InvalidInput, jobs.StoreUnavailable
        """
        return self._running("step").step(name, function, *args, **kwargs)

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run an asynchronous function as a `step`, in the body's own event loop."""
        return await self._running("astep").astep(name, function, *args, **kwargs)

    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        message: str = "",
        *,
        checkpoint: Any = ...,
        flush: bool = False,
    ) -> None:
        """Tell how far the body is. It may be called as often as one likes: `Settings.progress_seconds` bounds writes.

        The state of the result is ``"PROGRESS"`` then, and its ``info`` what was told last.

        Parameters
        ----------
        done, total : float, optional
            In units of the task's own.
        checkpoint : JSON value, optional
            What the next attempt needs to go on from here: ``self.request.job.checkpoint``.
        flush : bool
            Write it now.

        Raises
        ------
        jobs.ClaimLost
            The claim is over: another attempt may be running. Let the body end.
        jobs.InvalidInput, jobs.InvalidPayload, jobs.PayloadTooLarge
        """
        self._running("progress").progress(done, total, message, checkpoint=checkpoint, flush=flush)

    def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Give what the job was resumed with; where nobody did yet, end the body here, uncharged, and hold nothing.

        `JobRepo.resume`, ``jobclaim resume``, the dashboard or its API start the job again: the body runs from its
        beginning, finished steps give their results, and this call gives the payload.

        Parameters
        ----------
        timeout : float, optional
            Seconds since the body first waited for this name; default and at most 400 days.

        Raises
        ------
        jobs.WaitTimeout
            Nobody resumed it in time.
        jobs.ClaimLost, jobs.InvalidInput, jobs.StoreUnavailable
        """
        return self._running("wait_for").wait_for(name, timeout=timeout)

    def wait_token(self, name: str) -> str:
        """Give the token with which alone the API resumes that wait, the same in each attempt; no one else knows it."""
        return self._running("wait_token").wait_token(name)

    def sleep(self, seconds: float, *, name: str | None = None) -> None:
        """End the body here, uncharged, and have it run again from its beginning after some seconds, holding nothing.

        The first call decides until when; a later attempt passes it. Sleeps are told apart by their order in the body,
        or by ``name`` where that may change.
        """
        self._running("sleep").sleep(seconds, name=name)

    def sleep_until(self, when: datetime | int, *, name: str | None = None) -> None:
        """As `sleep`, until a time: an aware datetime or epoch milliseconds."""
        self._running("sleep_until").sleep_until(when, name=name)

    def is_aborted(self, **_: Any) -> bool:
        """Whether somebody wants this job to end: `celery.contrib.abortable`'s name for `JobTask.cancelled`."""
        return bool(self.cancelled)

    def _suspended(self, suspended: Suspended) -> NoReturn:
        """Leave an attempt whose job waits: its end is written. Raises `celery.exceptions.Ignore`."""
        self._make_room()
        repo = self.jobclaim.repo
        traces.ended(repo.settings, self.request.job, "release", at=repo.clock())
        raise Waits(str(suspended)) from None

    def _enter_body(self, job: Job) -> None:
        """Let threads that run in a copy of the body's context find the job."""
        _body.set(self.jobclaim.repo.running(job.job_id, token=job.claim_token))

    def _running(self, verb: str) -> Running | Eagerly:
        request = self.request_stack.top
        if request is not None:
            if getattr(request, "job", None) is not None:
                found: Running = self.jobclaim.repo.running(request.job.job_id, token=request.job.claim_token)
                return found
            return Eagerly.of(request, self.name)
        if (body := _body.get()) is not None:
            return body
        return self._only_one(verb)

    def _only_one(self, verb: str) -> Running | Eagerly:
        """Find the job of a thread that knows nothing: the only one of this task that the process runs."""
        held = self.jobclaim.repo.held_of(self.name)
        if len(held) > 1:
            raise InvalidInput(f"self.{verb}() " + NOWHERE.format(task=self.name))
        if not held:
            return Eagerly.of(None, self.name)
        found: Running = self.jobclaim.repo.running(held[0].job_id, token=held[0].claim_token)
        return found
