"""JSON log lines: one format for jobclaim's events and for those of Celery and every other library."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import partial
from logging.handlers import WatchedFileHandler
from typing import Any, ClassVar, Final

import click
import structlog
from celery import signals
from celery._state import get_current_task
from celery.app.log import MP_LOG, Logging
from celery.utils.log import get_logger, get_multiprocessing_logger, mlevel, reset_multiprocessing_logger
from celery.utils.nodenames import gethostname, node_format, nodename

from jobclaim.jobs import log, redaction
from jobclaim.settings import Settings
from jobclaim.specs.visible import visible_event
from jobclaim.workers.libraries import LIBRARIES
from jobclaim.workers.messages.adoption import NotAdopted
from jobclaim.workers.state import worker
from jobclaim.workers.task import JobTask
from jobclaim.workers.telemetry import metrics
from jobclaim.workers.telemetry.direct import DirectLines

QUIET: Final = ("botocore", "urllib3")
"""Libraries whose INFO lines do not help operators; a level that the host set for them stays."""
CELERYS_TASK_LOG: Final = "celery.task"
"""Parent of the loggers of `celery.utils.log.get_task_logger`."""


class WorkerLogging(Logging):
    """Sets up the log of a worker or a beat in jobclaim's format, unless the host does it.

    ::

        a setup_logging handler of the host                     it does all, as with Celery
        worker_hijack_root_logger false, root has handlers      they stay, as with Celery
        structlog configured by the host                        stays; jobclaim's format for standard logging
        else                                                    jobclaim's format
    """

    _structlog_is_ours: bool = False
    processors: ClassVar[list[Any]] = []

    def setup(self, loglevel: int | str | None = None, *args: Any, **options: Any) -> Any:
        """Set up once per process, at the command line's level, else the settings'."""
        return super().setup(self._level(loglevel), *args, **options)

    def setup_logging_subsystem(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        format: str | None = None,  # noqa: A002 - as Celery calls it
        colorize: bool | None = None,
        hostname: str | None = None,
        **options: Any,
    ) -> Any:
        """Set up handlers and send ``after_setup_logger`` and ``after_setup_task_logger`` to the host.

        Returns
        -------
        list
            The responses of the host's ``setup_logging`` handlers; empty if the log is jobclaim's or Celery's. ``None``
            if it was set up before.
        """
        handle = self.app.jobclaim
        if self.already_setup:
            handle.report_overridden()
            return None
        metrics.observe(handle.settings, handle)
        answers: Any = []
        if signals.setup_logging.receivers or self._host_keeps_its_handlers():
            answers = super().setup_logging_subsystem(
                loglevel, logfile, format=format, colorize=colorize, hostname=hostname, **options
            )
        else:
            Logging._setup = True
            file = node_format(logfile, hostname or nodename("beat", gethostname())) if logfile else None
            form = format or self.format
            arguments = {"loglevel": mlevel(loglevel), "logfile": file, "format": form, "colorize": colorize}
            self._set_up_ours(handle.settings, mlevel(loglevel), file, arguments)
        handle.report_overridden()
        return answers

    def _level(self, loglevel: int | str | None) -> int:
        """Determine the level; the default of Celery's command line does not count."""
        level = loglevel if loglevel and _is_typed("loglevel") else self.app.jobclaim.settings.log_level
        return int(mlevel(level))

    def _host_keeps_its_handlers(self) -> bool:
        return not self.app.conf.worker_hijack_root_logger and self._has_handler(logging.getLogger())

    def _set_up_ours(self, settings: Settings, level: int, file: str | None, arguments: dict[str, Any]) -> None:
        if WorkerLogging._structlog_is_ours or not structlog.is_configured():
            WorkerLogging._structlog_is_ours = True
            _configure_structlog()
        reset_multiprocessing_logger()
        root, tasks, pool = logging.getLogger(), get_logger(CELERYS_TASK_LOG), get_multiprocessing_logger()
        for logger in (root, get_logger("celery"), get_logger("celery.redirected"), tasks, pool):
            logger.handlers = []
        for logger in (root, tasks, pool):
            logger.addHandler(_handler(settings, file))
            logger.setLevel(level)
        _write_directly(settings)
        pool.setLevel(level if MP_LOG else logging.ERROR)
        _quieten(settings)
        signals.after_setup_logger.send(sender=None, logger=root, **arguments)
        tasks.propagate = False
        signals.after_setup_task_logger.send(sender=None, logger=tasks, **arguments)


def configure(settings: Settings, level: int | None = None, file: str | None = None) -> None:
    """Send every log line to standard error, or a file, in one format, with the context of the running job."""
    metrics.observe(settings)
    _configure_structlog()
    root = logging.getLogger()
    root.handlers[:] = [_handler(settings, file, sys.stderr)]
    root.setLevel(level or settings.log_level)
    _write_directly(settings)
    _quieten(settings)


def _is_typed(option: str) -> bool:
    """Return whether an option of Celery's command line was typed; one that a program passes counts as typed."""
    context = click.get_current_context(silent=True)
    return context is None or context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT


def _shared() -> list[Any]:
    """Return the processors of every line: jobclaim's, users' and libraries'."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_worker,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redaction.redact,
        _add_plain_task,
    ]


def _configure_structlog() -> None:
    WorkerLogging.processors = [*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=WorkerLogging.processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _write_directly(settings: Settings) -> None:
    """Let jobclaim's own lines skip standard logging while the root logger has this handler only."""
    handler: Any = logging.getLogger().handlers[0]
    is_json = settings.log_format == "json"
    log.write_directly(DirectLines(handler, WorkerLogging.processors) if is_json else None)


def _handler(settings: Settings, file: str | None, stream: Any = None) -> logging.Handler:
    """Make a handler. In a worker it does not use ``sys.stderr``, which Celery may redirect into the log."""
    stream = stream or sys.__stderr__
    handler = WatchedFileHandler(file, encoding="utf-8") if file else logging.StreamHandler(stream)
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if settings.log_format == "console":
        colors = not file and stream is not None and stream.isatty()
        renderers = [visible_event, structlog.dev.ConsoleRenderer(colors=colors)]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(allow=())],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *renderers,
            ],
        )
    )
    return handler


def _quieten(settings: Settings) -> None:
    for name in QUIET:
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(max(logging.WARNING, mlevel(settings.log_level)))
    trace = logging.getLogger("celery.app.trace")
    if _is_of_no_job not in trace.filters:
        trace.addFilter(_is_of_no_job)
        trace.isEnabledFor = partial(_may_be_written, trace)  # type: ignore[method-assign]


def skip_lines_of_jobs(tasks: Iterable[Any]) -> None:
    """Keep Celery from building its lines about successful attempts in an app without plain tasks.

    jobclaim's log would drop these lines.
    """
    trace = logging.getLogger("celery.app.trace")
    all_jobs = all(isinstance(task, JobTask) or task.name.startswith(LIBRARIES) for task in tasks)
    if all_jobs and _is_of_no_job in trace.filters and trace.level == logging.NOTSET:
        trace.setLevel(logging.WARNING)


def _may_be_written(trace: logging.Logger, level: int) -> bool:
    """Tell Celery beforehand which lines `_is_of_no_job` would drop: to build one costs a twentieth of a job."""
    is_dropped = isinstance(get_current_task(), JobTask) and _is_of_no_job in trace.filters
    return not is_dropped and logging.Logger.isEnabledFor(trace, level)


def _is_of_no_job(record: logging.LogRecord) -> bool:
    """Filter out Celery's lines about an attempt: jobclaim's tell more, and Celery's show results in clear text.

    Filter out those about a refused message, too: they show a traceback although nothing failed.
    """
    refused = record.exc_info is not None and isinstance(record.exc_info[1], NotAdopted)
    return not refused and not isinstance(get_current_task(), JobTask)


def _add_worker(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event.setdefault("worker", worker.current().worker_id)
    return event


def _add_plain_task(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Add the plain task that a user's line comes from, as Celery's task formatter does; jobs are added elsewhere."""
    if "job_id" in event or str(event.get("logger", "")).startswith(redaction.OURS):
        return event
    if (task := get_current_task()) is not None and task.request.id:
        event.setdefault("task", task.name)
        event.setdefault("task_id", task.request.id)
    return event
