"""The last step before a log line is written: what may carry an argument's value is masked.

::

    field of a registered event          written
    free text (`reason`, `why`)          written, but what it quotes is masked
    any other field                      masked
    exception                            type and frames, without the message

Messages of exceptions quote what they refuse, and that may be a password. Lines of other libraries and of users' own
loggers are theirs, except Celery's, kombu's and uvicorn's, whose tracebacks are shortened in the same way.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

from jobclaim.jobs.events import CONTEXT, FIELDS

MASK: Final = "[masked]"
FREE_TEXT: Final = frozenset({"reason", "why", "error"})
OURS: Final = "jobclaim."
SHORTENED: Final = (OURS, "celery.", "kombu.", "uvicorn.")
KNOWN: Final = frozenset(FIELDS) | frozenset(CONTEXT) | {"exc_info", "stack_info", "_record", "_from_structlog"}

_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?<==)[^\s,;:)]+""", re.DOTALL)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask a line's fields; a structlog processor, after the logger's name was added."""
    logger = str(event.get("logger", ""))
    if logger.startswith(SHORTENED):
        _shorten(event)
    if not logger.startswith(OURS):
        return event
    for name, value in event.items():
        if name not in KNOWN:
            event[name] = MASK
        elif name in FREE_TEXT and isinstance(value, str):
            event[name] = without_quotes(value, event)
    return event


def without_quotes(text: str, event: MutableMapping[str, Any]) -> str:
    """Mask what a text quotes or sets equal, unless another field of the line says the same openly."""
    open_values = {str(value) for name, value in event.items() if name in FIELDS and name not in FREE_TEXT}

    def masked(found: re.Match[str]) -> str:
        return found[0] if found[0].strip("'\"") in open_values else MASK

    return _QUOTED.sub(masked, text)


def _shorten(event: MutableMapping[str, Any]) -> None:
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = frames(error, error.__traceback__)


def frames(error: BaseException, trace: TracebackType | None) -> str:
    """Write the type of an exception and where it was raised, without its message."""
    return "".join([*traceback.format_tb(trace), f"{type(error).__module__}.{type(error).__qualname__}"])
