"""Find the exception that was raised, where Celery passes on another one.

Celery passes only exceptions that can be pickled to hooks, backends and its own `Retry`. If the raised one cannot be
pickled, Celery passes one of its base classes, or a wrapper, instead. The kind, the retry rule and the traceback come
from the raised one.
"""

from __future__ import annotations

import sys

from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper, get_pickled_exception


def original(error: BaseException, raised: BaseException | None = None) -> BaseException:
    """Return the exception that was raised, not the one that Celery made of it.

    Parameters
    ----------
    raised : BaseException, optional
        Default: the one that is being handled.
    """
    raised = raised or sys.exc_info()[1]
    if raised is not None and _is_wrapper_of(error, raised):
        return raised
    restored: BaseException = get_pickled_exception(error)
    return restored.with_traceback(error.__traceback__)


def cause_of(retry: Retry) -> BaseException | None:
    """Return the error for which a body is retried."""
    cause = getattr(retry, "exc", None)
    behind = retry.__cause__ or retry.__context__
    return original(cause, behind) if isinstance(cause, BaseException) and behind is not None else cause


def _is_wrapper_of(error: BaseException, raised: BaseException) -> bool:
    if isinstance(error, UnpickleableExceptionWrapper):
        return (error.exc_module, error.exc_cls_name) == (type(raised).__module__, type(raised).__name__)
    return isinstance(raised, type(error))
