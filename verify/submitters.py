"""Threads that make the calls at their times, and repeat each until it is accepted: then its job must not be lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from celery.canvas import chain, chord

from jobclaim import JobError
from jobclaim.verify.checks import AcceptedJob
from jobclaim.verify.fleet import now_ms
from jobclaim.verify.plan import BATCH, Call
from jobclaim.verify.values import MOST_ATTEMPTS

THREADS: Final = 6
PAUSE_SECONDS: Final = 0.2
POLL_SECONDS: Final = 0.5
TIMED: Final = ("timed", "expiring", "later")
"""Calls of the quick task with a time."""


class Submitters:
    """Make all calls of a plan, inside the block: if the run fails there, no more are made.

    Attributes
    ----------
    checks : list of AcceptedJob
        One for each accepted call; a chain adds two, a batch ten.
    secret : str
        An argument of every call that no log line may show.
    refused : int
        Calls that failed with an error and were repeated.
    """

    def __init__(self, app: Any, calls: Sequence[Call], name: str, secret: str) -> None:
        self.secret = secret
        self._app = app
        self._name = name
        self._calls: Iterator[Call] = iter(calls)
        self._lock = threading.Lock()
        self._began = 0.0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"submitter-{n}") for n in range(THREADS)]
        self.accepted: list[AcceptedJob] = []
        self.refused = 0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        """Begin; the times of the calls count from now."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Make no more calls."""
        self._stopped.set()

    def join(self, timeout: float) -> bool:
        """Wait until all calls are accepted; ``False`` if no call was accepted for so many seconds.

        Only a standstill is a failure: a slow machine may accept calls late.
        """
        accepted, deadline = -1, 0.0
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            if len(self.accepted) > accepted:
                accepted, deadline = len(self.accepted), time.monotonic() + timeout
            if time.monotonic() >= deadline:
                break
            alive[0].join(POLL_SECONDS)
        return not alive and not self.errors

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                call = next(self._calls, None)
            if call is None:
                return
            self._stopped.wait(max(0.0, self._began + call.at - time.monotonic()))
            try:
                self._submit_until_accepted(call)
            except Exception as error:  # noqa: BLE001 - reported with the verdict
                self.errors.append(f"{call}: {error!r}")

    def _submit_until_accepted(self, call: Call) -> None:
        called_at = now_ms()
        while not self._stopped.is_set():
            try:
                self.accepted += [replace(made, called_at=called_at) for made in self._submit(call)]
            except JobError:
                self.refused += 1
                self._stopped.wait(PAUSE_SECONDS)
            else:
                return

    def _submit(self, call: Call) -> list[AcceptedJob]:
        tasks, job_id = self._app.tasks, f"{self._name}-{call.number}"
        if call.task == "chain":
            return self._submit_chain(call, job_id)
        if call.task == "chord":
            return self._submit_chord(call, job_id)
        if call.task == "batch":
            return self._submit_batch(call, job_id)
        if call.task == "plain":
            return self._submit_plain(call, job_id)
        arguments = {"number": call.number, "seconds": call.seconds, "fails": call.fails, "secret": self.secret}
        options = {"task_id": job_id, "countdown": call.countdown, "expires": call.expires}
        if call.task == "once":
            del options["task_id"]
        task = tasks[f"verify.{'quick' if call.task in TIMED else call.task}"]
        result = task.apply_async(kwargs=arguments, **{name: value for name, value in options.items() if value})
        return [AcceptedJob(result.id, call.task, call.number, countdown=call.countdown, expires=call.expires)]

    def _submit_chain(self, call: Call, job_id: str) -> list[AcceptedJob]:
        tasks, first, then = self._app.tasks, f"{job_id}-first", f"{job_id}-then"
        steps = (
            tasks["verify.first"].s(call.number, call.seconds).set(task_id=first),
            tasks["verify.then"].s().set(task_id=then),
        )
        chain(*steps, app=self._app).apply_async()
        return [AcceptedJob(first, "first", call.number), AcceptedJob(then, "then", call.number, after=(first,))]

    def _submit_chord(self, call: Call, job_id: str) -> list[AcceptedJob]:
        """Submit a chord, with the same ids for its group and jobs at each try: a try completes what earlier ones
        began.
        """
        tasks, members, body = self._app.tasks, (f"{job_id}-a", f"{job_id}-b"), f"{job_id}-all"
        header = [tasks["verify.first"].s(call.number, call.seconds).set(task_id=member) for member in members]
        chord(header, app=self._app, task_id=f"{job_id}-group")(tasks["verify.all"].s().set(task_id=body))
        made = [AcceptedJob(member, "first", call.number) for member in members]
        return [*made, AcceptedJob(body, "all", call.number, after=members)]

    def _submit_plain(self, call: Call, job_id: str) -> list[AcceptedJob]:
        """Write a job, then call its task with the id, as host code does. If the call fails, recovery sends the
        message.
        """
        payload = {"number": call.number, "seconds": call.seconds, "secret": self.secret}
        self._app.jobclaim.repo.create_job(
            "verify.plain", payload, job_id=job_id, queue="default", on_orphan="retry", max_attempts=MOST_ATTEMPTS
        )
        with contextlib.suppress(Exception):
            self._app.tasks["verify.plain"].delay(job_id)
        return [AcceptedJob(job_id, "plain", call.number)]

    def _submit_batch(self, call: Call, name: str) -> list[AcceptedJob]:
        """Submit a batch under the same name at each try, so that jobs written before are found again."""
        made: list[AcceptedJob] = []
        calls = [(call.number + n, call.seconds) for n in range(BATCH)]
        report = self._app.tasks["verify.quick"].submit_many(
            calls,
            batch=name,
            each=lambda position, job: made.append(AcceptedJob(job.job_id, "quick", call.number + position)),
        )
        if not report.ok:
            raise report.failures[0].error
        return made
