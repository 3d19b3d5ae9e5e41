"""The part of `jobclaim.workers.task.JobTask` that outlasts an attempt: steps, progress and waits.

In a worker each call goes to the claim that the body holds; see `jobclaim.jobs.repo.running` for the protocol. A call
without a job, made directly or in eager mode, runs its steps, drops its progress and does not sleep; a wait returns the
payload that a test has set: `jobclaim.workers.attempt.eagerly`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn

from celery import Task
from celery.exceptions import Ignore

from jobclaim.jobs import InvalidInput, Job, JobRepo, Suspended
from jobclaim.jobs.repo.running import Running
from jobclaim.workers.attempt.eagerly import Eagerly
from jobclaim.workers.telemetry import traces

_body: ContextVar[Callable[[], Running] | None] = ContextVar("body", default=None)

NOWHERE: Final = (
    "was called in a thread that is not tied to a job, and this process runs several jobs of task {task!r}; start "
    "the thread's function in a copy of the body's context: contextvars.copy_context().run(...)"
)


class Waits(Ignore):
    """The attempt has ended, uncharged, and its job waits without a worker."""


class LastingTask(Task):
    """A task whose body may store step results, report progress, and wait without a worker."""

    abstract = True

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life: ``self.step("charge", charge_card, order_id)``.

        Its result is stored with the job, in one request. A later attempt, after a retry or a crash, gets it without
        running the function and without a read. A function that raises records nothing. A function that was running
        when its process died runs again: it runs at least once, and is recorded at most once.

        Parameters
        ----------
        name : str
            Unique in the job; in a loop with its index.
        function : callable
            Also an asynchronous one, which is run to its end. Its result consists of plain JSON values; one annotated
            with a pydantic model is returned as that model.

        Raises
        ------
        jobs.StepMismatch
            The name was used before for another function or with other arguments.
        jobs.ClaimLost
            The claim has ended: another attempt may be running. Let the body end.
        jobs.InvalidPayload, jobs.PayloadTooLarge, jobs.InvalidInput, jobs.StoreUnavailable
        """
        return self._running("step").step(name, function, *args, **kwargs)

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run an asynchronous function as a `step`, in the body's event loop."""
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
        """Report how far the body is. Call it as often as needed: `Settings.progress_seconds` limits the writes.

        The result's state is then ``"PROGRESS"``, and its ``info`` the latest report.

        Parameters
        ----------
        done, total : float, optional
            How much is done and how much there is, in any unit.
        checkpoint : JSON value, optional
            What the next attempt needs to continue from here: ``self.request.job.checkpoint``.
        flush : bool
            Write the report now, even if no write is due.

        Raises
        ------
        jobs.ClaimLost
            The claim has ended: another attempt may be running. Let the body end.
        jobs.InvalidInput, jobs.InvalidPayload, jobs.PayloadTooLarge
        """
        self._running("progress").progress(done, total, message, checkpoint=checkpoint, flush=flush)

    def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Return the payload that the job was resumed with; until it is resumed, end the body here, uncharged, without
        a worker.

        `JobRepo.resume`, ``jobclaim resume``, the dashboard or its API start the job again: the body runs from its
        beginning, finished steps return their results, and this call returns the payload.

        Parameters
        ----------
        timeout : float, optional
            Seconds since the body first waited for this name; default and maximum 400 days.

        Raises
        ------
        jobs.WaitTimeout
            It was not resumed in time.
        jobs.ClaimLost, jobs.InvalidInput, jobs.StoreUnavailable
        """
        return self._running("wait_for").wait_for(name, timeout=timeout)

    def wait_token(self, name: str) -> str:
        """Return the secret token that the API requires to resume that wait; the same in each attempt."""
        return self._running("wait_token").wait_token(name)

    def sleep(self, seconds: float, *, name: str | None = None) -> None:
        """End the body here, uncharged, and run it again from its beginning after some seconds, without a worker
        meanwhile.

        The first call sets the end; a later attempt does not sleep again. Sleeps are identified by their order in the
        body, or by ``name`` where that may change.
        """
        self._running("sleep").sleep(seconds, name=name)

    def sleep_until(self, when: datetime | int, *, name: str | None = None) -> None:
        """Sleep until a time, an aware datetime or epoch milliseconds; otherwise as `sleep`."""
        self._running("sleep_until").sleep_until(when, name=name)

    def is_aborted(self, **_: Any) -> bool:
        """Return whether this job is to be cancelled: `celery.contrib.abortable`'s name for `JobTask.cancelled`."""
        return bool(self.cancelled)

    def _suspended(self, suspended: Suspended) -> NoReturn:
        """Leave an attempt whose job waits, which is recorded already. Raises `celery.exceptions.Ignore`."""
        self._make_room()
        repo = self.jobclaim.repo
        traces.ended(repo.settings, self.request.job, "release", at=repo.clock())
        raise Waits(str(suspended)) from None

    def _enter_body(self, job: Job, repo: JobRepo) -> None:
        """Make the job visible to threads that run in a copy of the body's context."""
        home = threading.get_ident()
        _body.set(partial(repo.running, job.job_id, token=job.claim_token, home=home))

    def _running(self, verb: str) -> Running | Eagerly:
        request = self.request_stack.top
        if request is not None:
            if getattr(request, "job", None) is not None:
                found: Running = self.jobclaim.repo.running(request.job.job_id, token=request.job.claim_token)
                return found
            return Eagerly.of(request, self.name)
        if (body := _body.get()) is not None:
            return body()
        return self._only_one(verb)

    def _only_one(self, verb: str) -> Running | Eagerly:
        """Return the only job of this task that the process runs, for a thread without the body's context."""
        held = self.jobclaim.repo.held_of(self.name)
        if len(held) > 1:
            raise InvalidInput(f"self.{verb}() " + NOWHERE.format(task=self.name))
        if not held:
            return Eagerly.of(None, self.name)
        found: Running = self.jobclaim.repo.running(held[0].job_id, token=held[0].claim_token)
        return found
