"""Hand the outcome of a job that returned over to the main process, so that its child can claim the next one meanwhile.

::

    body ──▶ tracer ──▶ planned ──┬──▶ with the child's answer ──▶ main process: one request in its event loop
                                  └──▶ by the child itself, where one of the conditions below does not hold

Only a success that nothing follows is handed over: no user code and no other write of ours runs after it. The main
process takes outcomes while its event loop runs and DynamoDB answers it; else a child records its own, as all others
do (`jobclaim.workers.process.outcomes`).
"""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from celery import _state, signals

from jobclaim.jobs import ClaimLost, JobNotFound, JobRepo, JobStatus
from jobclaim.jobs.log import bound_fields
from jobclaim.jobs.repo.handing import PlannedCompletion
from jobclaim.workers.attempt import outcome, soft_limit
from jobclaim.workers.libraries import is_of_library
from jobclaim.workers.state import worker
from jobclaim.workers.telemetry import traces

MOST_BYTES: Final = 3_900
"""Of what is handed over: with the rest of the answer it fits one write to the child's pipe, 4,096 bytes, of which the
main process sees all or nothing (Linux, pipe(7), PIPE_BUF)."""
LEAST_SECONDS: Final = 0.004
"""What the job's claim took at least: where DynamoDB is faster, a child gains less than the main process spends."""
SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""Exact types of values bound to log lines that the main process can read."""
HOOKS: Final = ("on_success", "after_return", "Request")
"""Attributes of a user's class of which Celery runs code when the outcome is recorded."""
AFTER: Final = (signals.task_success, signals.task_postrun)
"""Signals that Celery sends then."""


class Handed(NamedTuple):
    """A child's answer with the outcome that its main process is to record, pickled."""

    content: bytes

    def read(self) -> tuple[str, PlannedCompletion]:
        """Return Celery's own part of the answer, and the outcome."""
        answer, planned = pickle.loads(self.content)  # noqa: S301 - a child's answers are pickled anyway
        return answer, PlannedCompletion(*planned)


def is_possible(task: Any, request: Any) -> bool:
    """Return whether the success of a claimed job may be recorded after its tracer has ended, by another process."""
    job = request.job
    return (
        worker.current().takes_outcomes()
        and request.claim_seconds >= LEAST_SECONDS
        and task.app is _state.default_app  # the worker's, by whose settings the main process writes
        and not (request.chord or job.dead_retries or job.payload_mark or getattr(request, "takes_place", ""))
        and not traces.is_on(task.jobclaim.settings)
        and not _is_followed(task)
    )


def plan(repo: JobRepo, job_id: str, token: str, result: Any, ttl: float | None) -> PlannedCompletion | None:
    """Plan the completion of a claimed job, and let its soft limit pass: its body has returned in time.

    Raises as `jobclaim.jobs.JobRepo.update_status`. ``None`` if the claim has ended.
    """
    soft_limit.end_attempt()
    try:
        return repo.plan_completion(job_id, token, result, ttl=ttl)
    except (ClaimLost, JobNotFound) as error:
        outcome.drop(JobStatus.COMPLETED, error)
        return None


def conclude(traced: Any, task: Any, request: Any) -> Any:
    """Return the tracer's answer, with the planned completion if the main process takes it; else record that here."""
    planned: PlannedCompletion | None = getattr(request, "planned", None)
    if planned is None:
        return traced
    handed = _handed(traced, planned)
    if handed is not None and worker.current().hand_over(planned.token):
        request.planned = None
        task.jobclaim.repo.hand_over(planned)
        return traced._replace(retstr=handed)
    record_here(task.jobclaim.repo, request)
    return traced


def _handed(traced: Any, planned: PlannedCompletion) -> Handed | None:
    """Return the answer with the outcome; ``None`` if the main process could not read it."""
    bound = bound_fields()
    if type(traced.retstr) is not str or not SCALARS.issuperset(map(type, bound.values())):
        return None
    content = pickle.dumps((traced.retstr, tuple(planned._replace(bound=bound))), pickle.HIGHEST_PROTOCOL)
    return Handed(content) if len(content) <= MOST_BYTES else None


def record_here(repo: JobRepo, request: Any) -> None:
    """Record the completion that a request has planned, if any, before anything else: its body has returned."""
    planned: PlannedCompletion | None = getattr(request, "planned", None)
    if planned is not None:
        request.planned = None
        outcome.record_planned(repo, planned)


def _is_followed(task: Any) -> bool:
    """Return whether code of the user runs after an outcome: a hook, its own `Request`, or a handler of a signal."""
    return _has_hooks(task.__class__) or any(map(partial(_has_handler, task), AFTER))


def _has_handler(task: Any, signal: Any) -> bool:
    """Return whether the user handles a signal of this task: not where all handlers, of any task, are ours."""
    everyones = [receiver for _, receiver in signal.receivers]
    return not (all(map(is_of_library, everyones)) or all(map(is_of_library, signal._live_receivers(task))))


@lru_cache(maxsize=1024)
def _has_hooks(cls: type) -> bool:
    own = (vars(one) for one in cls.__mro__ if not is_of_library(one))
    return any(hook in names for names in own for hook in HOOKS)
