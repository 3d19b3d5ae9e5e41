"""From whatever a caller calls an error to the `Failure` that is stored."""

from __future__ import annotations

import traceback as traceback_module
from dataclasses import replace
from typing import Final

from jobs.errors import InvalidInput
from jobs.model import Failure, FailureKind

MAX_MESSAGE: Final = 2_000
MAX_TRACEBACK: Final = 12_000
"""Characters kept; the end of a traceback is where the cause is."""


def describe(error: BaseException | str | Failure | None, now: int, kind: FailureKind | None = None) -> Failure:
    """Make a bounded `Failure` of an exception, a text or a failure; ``kind`` overrides what would be chosen."""
    if isinstance(error, Failure):
        chosen = replace(error, kind=kind or error.kind, at=error.at or now)
    elif isinstance(error, BaseException):
        chosen = Failure(
            kind=kind or FailureKind.PERMANENT,
            exception=f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
            message=str(error),
            traceback="".join(traceback_module.format_exception(error)),
            at=now,
        )
    elif error is None or isinstance(error, str):
        chosen = Failure(kind=kind or FailureKind.PERMANENT, message=error or "no reason was given", at=now)
    else:
        raise InvalidInput(f"error must be an exception, text or a Failure, not {type(error).__name__} ({error!r})")
    return replace(
        chosen, message=_clean(chosen.message)[:MAX_MESSAGE], traceback=_clean(chosen.traceback)[-MAX_TRACEBACK:]
    )


def _clean(text: str) -> str:
    """Lone surrogates cannot be stored; an error must never be lost for its own text."""
    return text.encode("utf-8", "replace").decode()
