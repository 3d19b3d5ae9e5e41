"""Log lines of jobclaim written without a record of standard logging, where only jobclaim's own handler would get it.

A line that takes structlog's processors, a logger, a record, a handler and a formatter costs as much CPU as a quarter
of a claim, and a job writes two. So a line is rendered here and given to the handler's stream, with the formatter's
fields, masks and order. Whenever another handler, a filter or a library could see its record, the line goes through
standard logging.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any, Final

import structlog

from jobclaim.jobs.events import EVENTS
from jobclaim.jobs.log import bound_fields
from jobclaim.workers.state import worker

LEVELS: Final = {number: name.lower() for name, number in logging.getLevelNamesMapping().items()}
_encode: Final = json.JSONEncoder(default=repr).encode


class DirectLines:
    """Writes jobclaim's lines to a handler that writes JSON; `jobclaim.jobs.log.write_directly` installs it.

    Parameters
    ----------
    handler : logging.StreamHandler
        The root logger's only handler.
    processors : list
        structlog's, as they were configured for this handler.
    """

    def __init__(self, handler: logging.StreamHandler[Any], processors: list[Any]) -> None:
        self._handler = handler
        self._processors = processors
        self._reopen: Callable[[], object] | None = (
            handler.reopenIfNeeded if isinstance(handler, WatchedFileHandler) else None
        )

    def __call__(self, logger: logging.Logger, level: int, event: str, fields: dict[str, Any]) -> bool:
        """Write a line whose fields are masked; ``False`` if it must go through standard logging.

        So must one that cannot be written, because standard logging reports that without an exception.
        """
        if not self._is_alone(logger):
            return False
        if level < self._handler.level or not logger.isEnabledFor(level):
            return True
        line = {
            **bound_fields(),
            **({"message": EVENTS[event].message} if event in EVENTS else {}),
            **fields,
            "event": event,
            "logger": logger.name,
            "level": LEVELS[level],
        }
        line.setdefault("worker", worker.current().worker_id)
        line["timestamp"] = f"{datetime.now(UTC).isoformat().removesuffix('+00:00')}Z"
        try:
            self._write(_encode(line) + self._handler.terminator)
        except Exception:  # noqa: BLE001 - a full disk must not end a job
            return False
        return True

    def _write(self, text: str) -> None:
        handler = self._handler
        handler.acquire()
        try:
            if self._reopen is not None:
                self._reopen()
            handler.stream.write(text)
            handler.stream.flush()
        finally:
            handler.release()

    def _is_alone(self, logger: logging.Logger) -> bool:
        """Check whether the logger's records reach this handler only, and nothing else reads them on the way."""
        root, handler = logging.root, self._handler
        if len(root.handlers) != 1 or root.handlers[0] is not handler or handler.filters or logger.filters:
            return False
        if structlog.get_config()["processors"] is not self._processors:
            return False
        if not logging.Logger.callHandlers.__module__ == logging.Logger.handle.__module__ == logging.__name__:
            return False  # Sentry and its like replace them
        current: logging.Logger | None = logger
        while current is not None and current is not root:
            if current.handlers or not current.propagate:
                return False
            current = current.parent
        return True
