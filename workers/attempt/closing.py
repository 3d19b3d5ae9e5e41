"""End a `JobTask`'s attempt with its tracer, whatever the body and the hooks did.

Celery's tracer records success, failure and its own retry. It does not record exceptions that it does not catch
(``SystemExit``, ``asyncio.CancelledError``) or that mean "record nothing" (``Ignore``, ``Reject``), and it does not
know the slots of a concurrency limit. This code wraps the tracer, so no method that a task overrides can keep it from
running.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any, Final

from celery import states
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore, Reject

from jobclaim.jobs.log import get_logger
from jobclaim.jobs.model import Failure
from jobclaim.jobs.transitions import Move
from jobclaim.workers.attempt import answer, handing, leaving
from jobclaim.workers.attempt.exceptions import exception_of
from jobclaim.workers.attempt.leaving import End
from jobclaim.workers.scope import Tracer

log = get_logger("jobclaim.worker")

_claimed: Final[ContextVar[Any]] = ContextVar("claimed", default=None)


def opened(request: Any) -> None:
    """Register a request with its claimed job, so that its attempt ends when its tracer does."""
    _claimed.set(request)


def closing(tracer: Tracer, task: Any) -> Tracer:
    """Make a tracer that leaves no attempt of the task open."""

    def trace(*args: Any, **kwargs: Any) -> Any:
        try:
            traced = tracer(*args, **kwargs)
        except BaseException as error:
            handing.record_here(task.jobclaim.repo, _claimed.get())  # the body had returned
            _close(task, End(Move.FAIL, error))
            raise
        traced = handing.conclude(traced, task, _claimed.get())
        info, result = traced.info, traced.retval
        _close(task, None if info is None else _end_of(info))
        if info is not None and isinstance(info.retval, Reject) and _claimed.get() is not None:
            # an `Ignore`, because the main process would record a `Reject` again
            result.exception = Ignore("its job is ended")
        return traced

    return trace


def answering(tracer: Tracer) -> Tracer:
    """Make a tracer whose answer the main process can read: `jobclaim.workers.attempt.answer`.

    An exception that the tracer does not catch ends a child of a prefork pool, or becomes the child's answer; in a
    thread it would be lost.
    """

    def trace(*args: Any, **kwargs: Any) -> Any:
        try:
            traced = tracer(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again in a form that the main process can read
            if threading.current_thread() is not threading.main_thread():
                failed = answer.wrapped(error)
                return trace_ok_t(answer.einfo_of(failed), TraceInfo(states.FAILURE, failed), 0.0, "")
            raise answer.readable(error).with_traceback(error.__traceback__) from None
        if traced.info is not None:
            answer.make_readable(traced.retval)
        return traced

    return trace


def _end_of(info: Any) -> End:
    request = _claimed.get()
    return leaving.end_of(info.retval, getattr(request, "final_state", None))


def _close(task: Any, end: End | None) -> None:
    """End the attempt that was claimed under this tracer, if it is open, and free its slot.

    ``end`` is ``None`` after a body that returned: only the tracer completes its job, or recovery ends it.
    """
    request = _claimed.get()
    if request is None or (end is None and not getattr(request, "takes_place", "")) or leaving.process_is_ending():
        return
    task.request_stack.push(request)
    try:
        if end is not None and task.jobclaim.repo.holds(request.job):
            _end(task, request, end)
        task._make_room()
    except Exception:
        log.exception("worker.outcomes_not_recorded")
    finally:
        task.request_stack.pop()


def _end(task: Any, request: Any, end: End) -> None:
    if end.move is Move.FAIL:
        _fail(task, request, end.value)
    elif end.move is Move.STOP or getattr(request, "cancel_seen", False):
        task.app.backend.cancel_job(request, end.value)
    else:
        leaving.record(task.app, task.jobclaim.repo, request.job, end)


def _fail(task: Any, request: Any, error: BaseException | Failure) -> None:
    """Fail the job as Celery fails a task: with its links, its hook and its signal."""
    request.failed_by = error
    shown = exception_of(error) if isinstance(error, Failure) else error
    trace = shown.__traceback__
    try:
        raise shown  # Celery reads the traceback, which an exception that was never raised does not have
    except BaseException as raised:  # noqa: BLE001 - the exception that ended the attempt
        raised.__traceback__ = trace or raised.__traceback__
        TraceInfo(states.FAILURE, raised).handle_error_state(task, request)
