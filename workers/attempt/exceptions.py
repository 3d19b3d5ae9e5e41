"""Rebuild the exception of a failed job, of its own class if this process knows it."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import Any, TypeGuard

from celery.exceptions import TaskPredicate, WorkerLostError

from jobclaim.jobs import FailureKind, JobError
from jobclaim.jobs.model import Failure


class JobFailed(JobError):
    """The job failed with an error whose class is unknown in this process; the message names it."""


def exception_of(failure: Failure) -> Exception:
    """Make an exception that prints like the recorded one, of its own class if this process knows it.

    Never one that would end the process or the task of the caller that waits for the result, such as ``SystemExit`` or
    ``Ignore``.
    """
    if not failure.exception:
        orphaned = failure.kind is FailureKind.ORPHANED
        return WorkerLostError(failure.message) if orphaned else JobFailed(failure.message)
    known = find_exception(failure.exception)
    exception = _make(known, failure.message) if known and _is_harmless(known) else None
    return exception or JobFailed(f"{failure.exception}: {failure.message}")


def _is_harmless(known: type[BaseException]) -> TypeGuard[type[Exception]]:
    return issubclass(known, Exception) and not issubclass(known, TaskPredicate)


def find_exception(name: str) -> type[BaseException] | None:
    """Find an exception class by its dotted name among the loaded modules, without importing any."""
    parts = name.split(".")
    for split in reversed(range(len(parts))):
        found: Any = sys.modules.get(".".join(parts[:split]) or "builtins")
        for part in parts[split:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _make(known: type[Exception], message: str) -> Exception | None:
    """Create an exception of a known class that prints a message. If the constructor needs other arguments, skip it; if
    the text lacks the message, replace the text.
    """
    printed = type(known.__name__, (known,), {"__str__": lambda _: message, "__module__": known.__module__})
    for make in (known, partial(_bare, known), printed, partial(_bare, printed)):
        with suppress(Exception):
            if message in str(exception := make(message)):
                return exception
    return None


def _bare(known: type[Exception], message: str) -> Exception:
    exception = known.__new__(known)
    exception.args = (message,)
    return exception
