"""The last step before a log line is written: values that may contain an argument are masked.

::

    field of a registered event          written
    free text (`reason`, `why`)          written; quoted names and ids stay, quoted values are masked
    any other field                      masked
    exception                            type and frames, without the message

Messages of exceptions quote what they refuse, which may be a password. Lines of other libraries and of users' own
loggers are left alone, except for loggers of Celery, kombu and uvicorn that log messages and requests: their tracebacks
are shortened in the same way. Celery's lines about plain tasks stay as they are.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from structlog.contextvars import get_contextvars

from jobclaim.jobs.events import CONTEXT, FIELDS

MASK: Final = "[masked]"
HIDDEN: Final = "[hidden]"
"""What stands for a value that the dashboard does not show."""
FREE_TEXT: Final = frozenset({"reason", "why", "error"})
OURS: Final = "jobclaim."
SHORTENED: Final = (OURS, "celery.", "kombu.", "uvicorn.")
OF_PLAIN_TASKS: Final = frozenset({"celery.app.trace", "celery.worker.request"})
KNOWN: Final = frozenset(FIELDS) | frozenset(CONTEXT) | {"exc_info", "stack_info", "_record", "_from_structlog"}

NOUNS: Final = (
    "task", "queue", "job", "schedule", "breaker", "table", "index", "worker", "group", "app", "header", "parameter",
    "wait", "step", "pool", "attribute", "option", "setting", "command", "module", "bucket", "kind", "state",
)  # fmt: skip
"""Words that precede a quoted name in our own messages."""
_NAMED: Final = re.compile(rf"\b(?:{'|'.join(NOUNS)})(?: (?:has|with) the)?(?: name| id)? $")
_NAMED_KEY: Final = re.compile(
    r"\b(?:task|queue|default_queue|recovery_queue|job_id|schedule|breaker|worker|worker_id|kind|state|status|timezone)=$"
)
_LISTED: Final = re.compile(rf"\b(?:{'|'.join(NOUNS)})s:? \[?(?:'[\w.:/@+-]{{1,255}}'(?:, | and | or ))*$")
"""Before a name in a list of names: ``queues 'mail', ``."""
_ENDPOINT: Final = re.compile(r"endpoint(?: URL)?:? $", re.IGNORECASE)
_NAME: Final = re.compile(r"[\w.:/@+-]{1,255}")
_QUOTED: Final = re.compile(
    r"""
    (?<!\w)[bBuU]?'(?:[^'\\]|\\.|'(?=\w))*(?:'(?!\w)|$)     # an apostrophe within a word quotes nothing
    | (?<!\w)[bBuU]?"(?:[^"\\]|\\.)*(?:"|$)                 # a text that was cut off may not close what it opened
    | (?<==)[^\s,;:)]+
    """,
    re.DOTALL | re.VERBOSE,
)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask a line's fields; a structlog processor that runs after the logger's name was added."""
    logger = str(event.get("logger", ""))
    if logger.startswith(OURS):
        shorten(event)
        mask(event)
    elif logger.startswith(SHORTENED) and logger not in OF_PLAIN_TASKS:
        shorten(event)
    return event


def mask(fields: MutableMapping[str, Any]) -> None:
    """Mask the fields of one of our own lines in place, except its exception."""
    for name, value in fields.items():
        if name not in KNOWN:
            fields[name] = MASK
        elif name in FREE_TEXT and isinstance(value, str):
            fields[name] = without_quotes(value, {**get_contextvars(), **fields})


def without_quotes(text: str, event: Mapping[str, Any]) -> str:
    """Mask quoted or assigned values in a text, unless they are names or ids.

    A name is a value that another field of the line shows openly, or one that follows a word such as task, queue or job
    and looks like a name.
    """
    open_values = {str(value) for name, value in event.items() if name in FIELDS and name not in FREE_TEXT}

    def masked(found: re.Match[str]) -> str:
        inner = found[0].strip("'\"")
        if _ENDPOINT.search(text[: found.start()]) and (address := _address(inner)):
            return address
        if inner in open_values or (_NAME.fullmatch(inner) and _is_named(text[: found.start()])):
            return found[0]
        return MASK

    return _QUOTED.sub(masked, text)


def _is_named(before: str) -> bool:
    return any(pattern.search(before) for pattern in (_NAMED, _NAMED_KEY, _LISTED))


def _address(url: str) -> str:
    """Return scheme, host and port of a URL, without a user, a path or a query; empty for any other text."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _NAME.fullmatch(host):
        return ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


class Masked(Exception):
    """An exception without its message, for standard logging to write."""


def masked_exception(exc_info: Any) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
    """Return the ``exc_info`` of a line with its type and frames, but without its message."""
    if (error := _error(exc_info)) is None:
        return None
    return type(error), Masked(_name(error)), error.__traceback__


def shorten(event: MutableMapping[str, Any]) -> None:
    """Replace a line's exception by its type and frames."""
    if "exc_info" in event and (error := _error(event.pop("exc_info"))) is not None:
        event["exception"] = frames(error, error.__traceback__)


def frames(error: BaseException, trace: TracebackType | None) -> str:
    """Format the type of an exception and where it was raised, without its message."""
    return "".join([*traceback.format_tb(trace), _name(error)])


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _error(exc_info: Any) -> BaseException | None:
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None
