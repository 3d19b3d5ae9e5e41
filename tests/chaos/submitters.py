"""Threads that make the calls at their times, each again until it is accepted: a job is promised from then on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog
from celery.canvas import chain

from jobclaim.jobs import JobError
from tests.chaos.plan import BATCH, Call
from tests.chaos.verdict import Promise

log = structlog.get_logger("chaos")
THREADS: Final = 6
PAUSE_SECONDS: Final = 0.2


class Submitters:
    """Make all calls of a plan.

    Attributes
    ----------
    promises : list of Promise
        One for each accepted call; a chain gives two, a batch ten.
    refused : int
        Calls that met an error and were made again.
    """

    def __init__(self, app: Any, calls: Sequence[Call], name: str) -> None:
        self._app = app
        self._name = name
        self._calls: Iterator[Call] = iter(calls)
        self._lock = threading.Lock()
        self._began = 0.0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"submitter-{n}") for n in range(THREADS)]
        self.promises: list[Promise] = []
        self.refused = 0
        self.broken: list[str] = []

    def start(self) -> None:
        """Begin; the calls' times count from now."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> bool:
        """Wait until all calls are accepted; ``False`` where they are not in time, and no more are made."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        done = not any(thread.is_alive() for thread in self._threads)
        self._stopped.set()
        return done and not self.broken

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                call = next(self._calls, None)
            if call is None:
                return
            self._stopped.wait(max(0.0, self._began + call.at - time.monotonic()))
            try:
                self._insist(call)
            except Exception as error:  # noqa: BLE001 - the verdict tells of it
                self.broken.append(f"{call}: {error!r}")

    def _insist(self, call: Call) -> None:
        while not self._stopped.is_set():
            try:
                self.promises += self._submit(call)
            except JobError as error:
                log.info("call refused, made again", error=type(error).__name__)
                self.refused += 1
                self._stopped.wait(PAUSE_SECONDS)
            else:
                return

    def _submit(self, call: Call) -> list[Promise]:
        tasks, job_id = self._app.tasks, f"{self._name}-{call.number}"
        if call.task == "chain":
            first, then = f"{job_id}-first", f"{job_id}-then"
            steps = (
                tasks["chaos.first"].s(call.number, call.seconds).set(task_id=first),
                tasks["chaos.then"].s().set(task_id=then),
            )
            chain(*steps, app=self._app).apply_async()
            return [Promise(first, "first", call.number), Promise(then, "then", call.number, after=first)]
        if call.task == "batch":
            return self._submit_batch(call, job_id)
        arguments = (call.number, call.seconds, call.fails)
        known = {} if call.task == "once" else {"task_id": job_id}
        result = tasks[f"chaos.{call.task}"].apply_async(arguments, **known)
        return [Promise(result.id, call.task, call.number)]

    def _submit_batch(self, call: Call, name: str) -> list[Promise]:
        """Under the same name each time: what was written is found again."""
        made: list[Promise] = []
        calls = [(call.number + n, call.seconds) for n in range(BATCH)]
        report = self._app.tasks["chaos.quick"].submit_many(
            calls,
            batch=name,
            each=lambda position, job: made.append(Promise(job.job_id, "quick", call.number + position)),
        )
        if not report.ok:
            raise report.failures[0].error
        return made
