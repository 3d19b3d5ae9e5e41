"""A child's answer to its worker's main process, made readable by any process.

The answer is pickled, and an exception that cannot be unpickled in the main process would end its event loop and with
it the whole worker: its class may come from a module that only the child imported, or do anything in ``__reduce__``.
The job's outcome is recorded by then. So Celery's own exceptions are rebuilt from plain values, and every other one is
replaced by a wrapper with its name and text.
"""

from __future__ import annotations

from typing import Any, Final

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TaskPredicate
from celery.utils.serialization import UnpickleableExceptionWrapper

from jobclaim.jobs.failures.description import words

OURS: Final = "jobclaim."


def make_readable(einfo: Any) -> None:
    """Replace the exception in the result of Celery's tracer by a readable one, in place."""
    error = einfo.exception
    error = error.exc if isinstance(error, ExceptionWithTraceback) else error
    einfo.exception = readable(error)
    einfo.type = type(einfo.exception)


def readable(error: Any) -> BaseException:
    """Return an exception that represents another one in every process."""
    if isinstance(error, TaskPredicate):
        return _predicate(error)
    copy: BaseException
    if isinstance(error, SoftTimeLimitExceeded):
        copy = SoftTimeLimitExceeded()
    elif isinstance(error, SystemExit):
        copy = SystemExit(_plain(error.code))
    elif isinstance(error, KeyboardInterrupt):
        copy = KeyboardInterrupt()
    else:
        copy = wrapped(error)
    return copy


def _predicate(error: Any) -> BaseException:
    """Return Celery's exception that tells the main process what to do with the message, in a form that it can read."""
    copy: BaseException = error
    if type(error).__module__.startswith(OURS):
        return copy
    if isinstance(error, Retry):
        copy = Retry(words(error.message), exc=error.exc and readable(error.exc), when=_plain(error.when))
    elif isinstance(error, Reject):
        copy = Reject(words(error.reason), requeue=bool(error.requeue))
    elif isinstance(error, Ignore):
        copy = Ignore(words(error))
    else:
        copy = wrapped(error)
    return copy


def wrapped(error: BaseException) -> UnpickleableExceptionWrapper:
    """Return Celery's wrapper, with an exception's name and text."""
    module, name, text = type(error).__module__, type(error).__name__, words(error)
    if isinstance(error, UnpickleableExceptionWrapper):
        module, name = error.exc_module, error.exc_cls_name
    return UnpickleableExceptionWrapper(module, name, (text,), f"{name}({text!r})")


def einfo_of(error: BaseException) -> ExceptionInfo:
    """Return an unraised exception in the form of Celery's tracer; its readers need a traceback."""
    try:
        raise error
    except BaseException:  # noqa: BLE001 - raised two lines above
        return ExceptionInfo()


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (int, float, str) else words(value)
