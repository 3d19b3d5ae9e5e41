"""A claimed job while its body runs: steps, progress and waits, each write fenced by the claim.

::

    step("charge", f, x)   recorded? ─ yes ─▶ its result, nothing runs, nothing is read
                               └─ no ──▶ f(x) ──▶ one write: result, and the latest report of `progress`
    progress(3, 10)        at most one write per `progress_seconds`; the last value goes with the next write of any kind
    wait_for("approval")   resumed? ─ yes ─▶ its payload
                               └─ no ──▶ PENDING until it is resumed or its deadline comes: the body ends here

Work that was running when the worker died may run again: a step runs at least once and is recorded at most once.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any

from jobclaim.jobs import checks
from jobclaim.jobs.durable import tokens
from jobclaim.jobs.encoding.marks import refuse_mark
from jobclaim.jobs.errors import InvalidInput, StoreUnavailable, Suspended, WaitTimeout
from jobclaim.jobs.kept import MAX_WAITS, SLEEP, Wait
from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Job
from jobclaim.jobs.protocol import durable
from jobclaim.jobs.repo import room
from jobclaim.jobs.repo.keeping import MAX_NAME
from jobclaim.jobs.repo.stepping import Stepping
from jobclaim.jobs.transitions import Move

log = get_logger("jobclaim.jobs")


class Running(Stepping):
    """Progress, steps and waits of the body under one claim; a process has one object per claim. Thread-safe."""

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
        """Report the progress of the body: see `JobRepo.progress`."""
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
        """Report a custom state of the task, as Celery's ``update_state`` does."""
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

    # --- waits
    def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Return what the job was resumed with, or end the body here: see `JobRepo.wait_for`."""
        wait = self.wait(name, timeout=timeout)
        if wait is None:
            raise Suspended(f"the job waits for {name!r}")
        return self._repo.large.value(wait.payload)

    def sleep(self, seconds: float, *, name: str | None = None) -> None:
        """End the body here and continue after some seconds; see `JobTask.sleep`."""
        checks.positive(seconds, "seconds", checks.MAX_WINDOW_SECONDS)
        self.sleep_until(self._repo.clock() + round(seconds * 1000), name=name)

    def sleep_until(self, when: datetime | int, *, name: str | None = None) -> None:
        """End the body here and continue at a time, in epoch milliseconds or as an aware datetime."""
        if not self.wake_at(when, name=name):
            raise Suspended("the job sleeps")

    def wake_at(self, when: datetime | int, *, name: str | None = None) -> bool:
        """Check whether the time has come; ``False`` if the attempt has ended and the job sleeps."""
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
        """Return the wait if the job was resumed; ``None`` if the attempt has ended and the job waits.

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
                    raise _too_late(self.job, name, known.until)
                until = known.until if known and known.since else now + round(timeout * 1000)
                if now >= until:
                    if self._write(Move.NOTE, durable.timed_out(self.job, name)):
                        log.warning("wait.timed_out", wait=name, **self.job.log_context())
                        raise _too_late(self.job, name, until)
                elif self._suspend(name, now, until):
                    return None

    def wait_token(self, name: str) -> str:
        """Return the token that authorizes a resume of this wait through the API: see `JobTask.wait_token`."""
        wait_name(name)
        with self._lock:
            while True:
                self._go_on()
                known, secret = self.job.wait_named(name), self.job.wait_secret or tokens.new_secret()
                announced = known is not None and known.announced and self.job.wait_secret
                if announced or self._write(Move.NOTE, durable.announced(self._with_room(name), name, secret)):
                    return tokens.token_of(self.job.job_id, name, secret)

    def _suspend(self, name: str, now: int, until: int) -> bool:
        """End the attempt; ``False`` if the job was resumed meanwhile, so that the caller checks again."""
        if threading.get_ident() != self._home:
            raise InvalidInput(
                f"the wait {name!r} was started in a thread of the body; a wait ends the body, so call it in the body "
                "itself"
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
        """Return the job if it may wait for one more name. Raises `InvalidInput`."""
        if self.job.wait_named(name) is None:
            room.check_number(len(self.job.waits), MAX_WAITS, "waits", "use fewer names, or submit other jobs")
            self._fitting(None, f"the wait {name!r}")
        return self.job


def wait_name(name: Any) -> str:
    """Require the name of a wait. Raises `InvalidInput`."""
    text = checks.text(name, "name of a wait", MAX_NAME)
    if text.startswith(SLEEP):
        raise InvalidInput(
            f"name of a wait is {text!r}, but names that begin with {SLEEP!r} are reserved for sleeps; use another name"
        )
    return text


def _too_late(job: Job, name: str, until: int) -> WaitTimeout:
    return WaitTimeout(
        f"job {job.job_id!r} was not resumed as {name!r} before its deadline at {until} (epoch milliseconds)"
    )
