"""A claimed job while its body runs: steps, progress and waits, each write fenced by the claim.

::

    step("charge", f, x)   recorded? ─ yes ─▶ its result, nothing runs, nothing is read
                               └─ no ──▶ f(x) ──▶ one write: result, and what `progress` told meanwhile
    progress(3, 10)        at most one write in `progress_seconds`; the last value goes with the next write of any kind
    wait_for("approval")   resumed? ─ yes ─▶ its payload
                               └─ no ──▶ PENDING until it is resumed or its deadline comes: the body ends here

What was under way when the worker died may run again: a step runs at least once and is recorded at most once.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.durable import calls, tokens, typed
from jobclaim.jobs.durable.reports import Reports
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.encoding.marks import refuse_mark
from jobclaim.jobs.errors import (
    ClaimLost,
    InvalidInput,
    PayloadTooLarge,
    StoreUnavailable,
    Suspended,
    WaitTimeout,
)
from jobclaim.jobs.kept import MAX_STEPS, MAX_WAITS, SLEEP, Step, Wait
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job, JobStatus
from jobclaim.jobs.protocol import durable
from jobclaim.jobs.repo import delivery, room
from jobclaim.jobs.storage.written import Written
from jobclaim.jobs.transitions import Move

if TYPE_CHECKING:
    from jobclaim.jobs.repo.owning import Owning

log = get_logger("jobclaim.jobs")

MAX_NAME: Final = 100
"""Characters of a step's or a wait's name."""

_under_way: ContextVar[tuple[str, ...]] = ContextVar("steps_under_way", default=())


class Running:
    """What one claim keeps; of each claim a process has one. Thread-safe.

    Parameters
    ----------
    claim : Job
        The job as it was claimed.
    """

    def __init__(self, repo: Owning, claim: Job) -> None:
        self._repo = repo
        self._home = threading.get_ident()
        self._lock = threading.RLock()
        self._names: dict[str, threading.Lock] = {}
        self._sleeps = itertools.count(1)
        self._over = ""
        self.reports = Reports(claim, repo.settings.progress_seconds)
        self.job = claim
        """As the store has it, as far as this process knows."""

    # --- steps
    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life: see `JobRepo.step`."""
        call = self._call(name, function, args, kwargs)
        with self._alone(name):
            if (known := self._finished(name, *call)) is not None:
                return self._result(known, function)
            started = time.monotonic()
            return self._record(name, function, call, completed_now(function(*args, **kwargs), name), started)

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run an asynchronous function as a step, in the body's own event loop; see `JobRepo.step`."""
        call = self._call(name, function, args, kwargs)
        lock = self._lock_of(name)
        await asyncio.to_thread(lock.acquire)
        mark = _under_way.set((*_under_way.get(), name))
        try:
            if (known := self._finished(name, *call)) is not None:
                return await asyncio.to_thread(self._result, known, function)
            started, result = time.monotonic(), function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            return await asyncio.to_thread(self._record, name, function, call, result, started)
        finally:
            _under_way.reset(mark)
            lock.release()

    def _call(self, name: str, function: Any, args: Any, kwargs: Any) -> tuple[str, str]:
        step_name(name)
        if name in _under_way.get():
            raise InvalidInput(f"step {name!r} was begun inside itself; give the inner one another name")
        return calls.name_of(function), calls.hash_of(function, args, kwargs)

    def _lock_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._names.setdefault(name, threading.Lock())

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let two threads that begin one step run it once."""
        with self._lock_of(name):
            mark = _under_way.set((*_under_way.get(), name))
            try:
                yield
            finally:
                _under_way.reset(mark)

    def _finished(self, name: str, function: str, arguments: str) -> Step | None:
        with self._lock:
            self._go_on()
            known = self.job.step_named(name)
            if known is not None:
                calls.check_same_call(known, function, arguments)
                return known
            room.check_number(
                self.job.step_count, MAX_STEPS, "finished steps", "let one step do more, or submit jobs of their own"
            )
        return None

    def _result(self, known: Step, function: Callable[..., Any]) -> Any:
        return typed.from_json(self._repo.large.value(known.result), function)

    def _record(
        self, name: str, function: Callable[..., Any], call: tuple[str, str], result: Any, started: float
    ) -> Any:
        plain = typed.to_json(result, function)
        what = f"the result of step {name!r}"
        refuse_mark(plain, what)
        took = round((time.monotonic() - started) * 1000)
        with self._lock:
            stored = codec.decode(codec.encode(self._fitting(plain, what)))  # as later attempts see it
            while True:
                self._go_on()
                if (other := self.job.step_named(name)) is not None:  # another process that has the claim's token
                    calls.check_same_call(other, *call)
                    return self._result(other, function)
                step = Step(
                    name=name,
                    function=call[0],
                    arguments=call[1],
                    result=stored,
                    attempt=self.job.attempt,
                    at=self._repo.clock(),
                    took_ms=took,
                )
                if self._write(Move.STEP, durable.with_step(self._with_reports(self.job), step)):
                    log.debug("step.recorded", step=name, took_ms=took, **self.job.log_context())
                    return self._result(step, function)

    # --- progress
    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        message: str = "",
        *,
        checkpoint: Any = ...,
        flush: bool = False,
    ) -> None:
        """Tell how far the body is: see `JobRepo.progress`."""
        with self._lock:
            self._go_on()
            if checkpoint is not ...:
                refuse_mark(checkpoint, "checkpoint")
                if checkpoint is not None:
                    self._fits(checkpoint)
            now = self._repo.clock()
            self.reports.tell(done, total, message, checkpoint, now)
            self._report_if_due(now, flush=flush)

    def update_state(self, state: str, meta: Any) -> None:
        """Tell a state of the task's own, as Celery's ``update_state`` does."""
        with self._lock:
            self._go_on()
            room.check(replace(self.job, progress=None), meta, "meta", self._repo.settings)
            now = self._repo.clock()
            self.reports.tell_state(state, meta, now)
            self._report_if_due(now, flush=False)

    def _report_if_due(self, now: int, *, flush: bool) -> None:
        if not (flush or self.reports.is_due(now)):
            return
        self.reports.written_at = now
        try:
            self._write(Move.PROGRESS, self._with_reports(self.job))
        except StoreUnavailable as error:
            log.warning("progress.not_written", reason=str(error), **self.job.log_context())

    def with_last_report(self, after: Job) -> Job:
        """Give a job whose attempt ends with what its body told last: it costs no write of its own."""
        with self._lock:
            kept = after.status is not JobStatus.COMPLETED  # then nothing reads the checkpoint any more
            try:
                return self._with_reports(after, checkpoint=kept)
            except (PayloadTooLarge, StoreUnavailable) as error:
                log.warning("checkpoint.not_written", reason=str(error), **self.job.log_context())
                return self._with_reports(after, checkpoint=False)

    def _with_reports(self, job: Job, *, checkpoint: bool = True) -> Job:
        job = replace(job, progress=self.reports.progress or job.progress)
        if checkpoint and self.reports.checkpoint is not ...:
            value = self.reports.checkpoint
            stored = None if value is None else self._fitting(value, "checkpoint", without=True)
            job = replace(job, checkpoint=stored)
        return job

    # --- waits
    def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Give what the job was resumed with, or end the body here: see `JobRepo.wait_for`."""
        wait = self.wait(name, timeout=timeout)
        if wait is None:
            raise Suspended(f"the job waits for {name!r}")
        return self._repo.large.value(wait.payload)

    def sleep(self, seconds: float, *, name: str | None = None) -> None:
        """End the body here, and go on after some seconds; see `JobTask.sleep`."""
        checks.positive(seconds, "seconds", checks.MAX_WINDOW_SECONDS)
        self.sleep_until(self._repo.clock() + round(seconds * 1000), name=name)

    def sleep_until(self, when: datetime | int, *, name: str | None = None) -> None:
        """End the body here, and go on at a time, epoch milliseconds or an aware datetime."""
        if not self.wake_at(when, name=name):
            raise Suspended("the job sleeps")

    def wake_at(self, when: datetime | int, *, name: str | None = None) -> bool:
        """Whether the time has come; ``False`` where the attempt is over and the job sleeps."""
        when = checks.moment(when, "when", self._repo.clock())
        with self._lock:
            name = SLEEP + (str(next(self._sleeps)) if name is None else checks.text(name, "name", MAX_NAME))
            while True:
                self._go_on()
                now, known = self._repo.clock(), self.job.wait_named(name)
                until = known.until if known else when
                if now >= until:
                    return True
                if self._suspend(name, now, until):
                    return False

    def wait(self, name: str, *, timeout: float | None = None) -> Wait | None:
        """Give the wait where the job was resumed; ``None`` where the attempt is over and the job waits.

        Raises
        ------
        WaitTimeout, ClaimLost, InvalidInput, StoreUnavailable
        """
        wait_name(name)
        timeout = checks.MAX_WINDOW_SECONDS if timeout is None else timeout
        checks.positive(timeout, "timeout", checks.MAX_WINDOW_SECONDS)
        with self._lock:
            while True:
                self._go_on()
                now, known = self._repo.clock(), self.job.wait_named(name)
                if known is not None and known.resumed_at:
                    return known
                if known is not None and known.timed_out:
                    raise _too_late(self.job, known)
                until = known.until if known and known.since else now + round(timeout * 1000)
                if now >= until:
                    if self._write(Move.NOTE, durable.timed_out(self.job, name)):
                        log.warning("wait.timed_out", wait=name, **self.job.log_context())
                        raise _too_late(self.job, self.job.wait_named(name))
                elif self._suspend(name, now, until):
                    return None

    def wait_token(self, name: str) -> str:
        """Give the token with which alone the API resumes this wait: see `JobTask.wait_token`."""
        wait_name(name)
        with self._lock:
            while True:
                self._go_on()
                known, secret = self.job.wait_named(name), self.job.wait_secret or tokens.new_secret()
                announced = known is not None and known.announced and self.job.wait_secret
                if announced or self._write(Move.NOTE, durable.announced(self._with_room(name), name, secret)):
                    return tokens.token_of(self.job.job_id, name, secret)

    def _suspend(self, name: str, now: int, until: int) -> bool:
        """End the attempt; ``False`` where the job was resumed meanwhile, so that the caller looks again."""
        if threading.get_ident() != self._home:
            raise InvalidInput(
                f"the wait {name!r} was begun in a thread that the body started; a wait ends the body, so begin it in "
                "the body itself"
            )
        after = durable.waiting(self._with_reports(self._with_room(name)), name, now, until)
        claim = self.job
        if not self._write(Move.WAIT, after):
            return False
        self._over = f"the job waits for {name!r}"
        log.info("wait.begun", wait=name, until=until, **claim.log_context())
        self._repo.attempt_ended(claim, after)
        self._repo.send(after)
        return True

    def _with_room(self, name: str) -> Job:
        """Give the job, where it may wait for one more name. Raises `InvalidInput`."""
        if self.job.wait_named(name) is None:
            room.check_number(len(self.job.waits), MAX_WAITS, "waits", "use fewer names, or submit jobs of their own")
            self._fitting(None, f"the wait {name!r}")
        return self.job

    # --- writing
    def _go_on(self) -> None:
        if self._over:
            raise ClaimLost(f"the attempt of job {self.job.job_id!r} is over: {self._over}; let the body end")

    def _write(self, move: Move, after: Job) -> bool:
        """Make a move; ``False`` where the job changed under the same claim, so that the caller looks again.

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
        mine = stored is not None and stored.claim_token == self.job.claim_token
        if stored is not None and mine and stored.status is JobStatus.PROCESSING:
            self.job = stored
            return
        claim, self._over = self.job, "its claim is over"
        raise self._repo.attempt_lost(claim, stored)

    def _fits(self, checkpoint: Any) -> None:
        if not self._repo.large.enabled and not isinstance(checkpoint, (int, float)):
            self._fitting(checkpoint, "checkpoint", without=True)

    def _fitting(self, value: Any, what: str, *, without: bool = False) -> Any:
        """Give a value as it is stored; ``without`` the checkpoint, which it takes the place of."""
        job = replace(self.job, checkpoint=None) if without else self.job
        return room.fitting(job, value, what, self._repo.large, self._repo.settings, until=self.job.lease_expires_at)


def step_name(name: Any) -> str:
    """Require the name of a step. Raises `InvalidInput`."""
    return checks.text(name, "name of a step", MAX_NAME)


def wait_name(name: Any) -> str:
    """Require the name of a wait. Raises `InvalidInput`."""
    text = checks.text(name, "name of a wait", MAX_NAME)
    if text.startswith(SLEEP):
        raise InvalidInput(f"name of a wait is {text!r}; names of sleeps begin with {SLEEP!r}, use another one")
    return text


def _too_late(job: Job, wait: Wait | None) -> WaitTimeout:
    assert wait is not None
    return WaitTimeout(
        f"job {job.job_id!r} was not resumed as {wait.name!r} before its deadline at {wait.until} (epoch milliseconds)"
    )


def completed_now(result: Any, name: str) -> Any:
    """Run an asynchronous function's result to its end."""
    if not inspect.isawaitable(result):
        return result
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(result))
    if inspect.iscoroutine(result):
        result.close()
    raise InvalidInput(f"step {name!r} is asynchronous, and so is its body: use `await self.astep({name!r}, ...)`")


async def _awaited(result: Any) -> Any:
    return await result
