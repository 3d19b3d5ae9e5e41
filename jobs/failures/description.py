"""Conversion of an exception, a text or a failure to the `Failure` that is stored."""

from __future__ import annotations

import traceback as traceback_module
from dataclasses import replace
from typing import Any, Final

from jobclaim.jobs import checks
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.errors import InvalidInput
from jobclaim.jobs.failures import fingerprint
from jobclaim.jobs.failures.taxonomy import classify
from jobclaim.jobs.model import Failure, FailureKind

MAX_MESSAGE: Final = 2_000
MAX_TRACEBACK: Final = 12_000
MAX_EXCEPTION: Final = 255
MAX_WHERE: Final = 200
"""Stored bytes; of a traceback the end is kept, where the cause is. `settings.ITEM_BUDGET` relies on these limits."""


def describe(
    error: BaseException | str | Failure | None, now: int, kind: FailureKind | None = None, *, task: str = ""
) -> Failure:
    """Build a bounded `Failure` from an exception, a text or a failure.

    Parameters
    ----------
    kind : FailureKind, optional
        Overrides the result of `jobclaim.jobs.failures.taxonomy` for an exception; a text is PERMANENT.
    task : str
        Task whose own rules apply, if it has any.

    Raises
    ------
    InvalidInput
        ``error`` is of another type, or the kind is invalid.
    """
    if isinstance(error, Failure):
        chosen = replace(error, kind=kind or error.kind, at=error.at or now)
    elif isinstance(error, BaseException):
        chosen = Failure(
            kind=kind or classify(error, task),
            exception=f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
            message=words(error),
            traceback=_trace(error),
            at=now,
            where=fingerprint.top_frame(error),
        )
    elif error is None or isinstance(error, str):
        chosen = Failure(kind=kind or FailureKind.PERMANENT, message=error or "no reason was given", at=now)
    else:
        raise InvalidInput(f"error must be an exception, text or a Failure, not {type(error).__name__} ({error!r})")
    return bounded(chosen)


def bounded(failure: Failure) -> Failure:
    """Check a failure and truncate its texts, so that it can be stored and read again whatever it contains."""
    if failure.kind not in frozenset(FailureKind):
        raise InvalidInput(
            f"kind={failure.kind!r} is not a failure kind; use one of {[str(kind) for kind in FailureKind]}"
        )
    exception, where = codec.cut(_clean(failure.exception), MAX_EXCEPTION), codec.cut(_clean(failure.where), MAX_WHERE)
    return Failure(
        kind=FailureKind(failure.kind),
        exception=exception,
        message=codec.cut(_clean(failure.message), MAX_MESSAGE),
        traceback=codec.cut(_clean(failure.traceback), MAX_TRACEBACK, from_end=True),
        at=checks.count(failure.at, "failure.at", least=0, most=10**15),
        where=where,
        fingerprint=fingerprint.of(failure.kind, exception, where),
    )


def words(error: Any) -> str:
    """Return the text of an exception, or of a value that one holds; an error in its ``__str__`` is caught."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001
        return f"(its __str__ raised {type(broken).__name__})"


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback_module.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - as above: its causes and notes are user code, too
        return f"(it cannot be formatted: {type(broken).__name__})"


def _clean(text: Any) -> str:
    """Replace lone surrogates, which cannot be stored: an error must never be lost because of its text."""
    return str(text).encode("utf-8", "replace").decode()
