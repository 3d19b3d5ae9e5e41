"""Steps, progress and waits of a call that has no job: made directly, by ``apply()`` or in eager mode.

Results and errors are those of a worker: a result that no worker could store is refused, and so is a name that is used
for two calls. Nothing is stored: steps are forgotten when the call ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from jobclaim.jobs import InvalidInput, Job, JobStatus, WaitTimeout, checks
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.durable import calls, typed
from jobclaim.jobs.durable.reports import Reports
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.kept import Step
from jobclaim.jobs.repo.running import wait_name
from jobclaim.jobs.repo.stepping import completed_now, step_name

TIMES_OUT: Final = object()
"""Payload that makes a wait time out."""

_resumes: ContextVar[Mapping[str, Any]] = ContextVar("resumes", default={})  # noqa: B039 - the default is never changed


@contextmanager
def resumed_with(payloads: Mapping[str, Any]) -> Iterator[None]:
    """Set the payloads that the waits of eager calls in this block return, by name."""
    token = _resumes.set({**_resumes.get(), **payloads})
    try:
        yield
    finally:
        _resumes.reset(token)


class Eagerly:
    """The state of one call while it runs."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._steps: dict[str, tuple[Step, Any]] = {}
        self._reports = Reports(Job(job_id="", task=task, queue="", status=JobStatus.PROCESSING), 0)

    @classmethod
    def of(cls, request: Any, task: str) -> Eagerly:
        """Return the state of a request's call; calls without a request have none."""
        if request is None:
            return cls(task)
        known = vars(request).get("eagerly")
        if known is None:
            known = request.eagerly = cls(task)
        return known  # type: ignore[no-any-return]

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the function once per call."""
        call = self._call(name, function, args, kwargs)
        if name not in self._steps:
            self._keep(name, function, call, completed_now(function(*args, **kwargs), name))
        return self._given(name, function, call)

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the function once per call."""
        call = self._call(name, function, args, kwargs)
        if name not in self._steps:
            result = function(*args, **kwargs)
            self._keep(name, function, call, await result if inspect.isawaitable(result) else result)
        return self._given(name, function, call)

    def progress(self, done: float | None, total: float | None, message: str, *, checkpoint: Any, flush: bool) -> None:
        """Validate the report as a worker would, and drop it."""
        self._reports.tell(done, total, message, checkpoint, system_clock())

    def wait_for(self, name: str, *, timeout: float | None = None) -> Any:
        """Return the payload that the test set."""
        wait_name(name)
        payload = _resumes.get().get(name, ...)
        if payload is TIMES_OUT:
            raise WaitTimeout(
                f"the payload given to the eager call of task {self._task!r} makes wait {name!r} time out"
            )
        if payload is ...:
            raise InvalidInput(
                f"task {self._task!r} waits for {name!r}, but this call (direct, by apply() or in eager mode) has no "
                f"job that could wait; give its payload with jobclaim.testing.resumed({{{name!r}: ...}})"
            )
        return codec.decode(codec.encode(payload))

    def wait_token(self, name: str) -> str:
        """Return a token that resumes nothing."""
        return f"eager-{wait_name(name)}"

    def sleep(self, seconds: float, *, name: str | None = None) -> None:
        """Return at once."""
        checks.positive(seconds, "seconds", checks.MAX_WINDOW_SECONDS)

    def sleep_until(self, when: datetime | int, *, name: str | None = None) -> None:
        """Return at once."""
        checks.moment(when, "when", system_clock())

    def _call(self, name: str, function: Any, args: Any, kwargs: Any) -> tuple[str, str]:
        step_name(name)
        return calls.name_of(function), calls.hash_of(function, args, kwargs)

    def _keep(self, name: str, function: Callable[..., Any], call: tuple[str, str], result: Any) -> None:
        text = codec.encode(typed.to_json(result, function), what=f"the result of step {name!r}")
        self._steps[name] = (Step(name=name, function=call[0], arguments=call[1]), text)

    def _given(self, name: str, function: Callable[..., Any], call: tuple[str, str]) -> Any:
        step, text = self._steps[name]
        calls.check_same_call(step, *call)
        return typed.from_json(codec.decode(text), function)
