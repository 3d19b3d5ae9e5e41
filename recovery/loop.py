"""Recovery as a process of its own: one pass per interval, until it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from jobclaim.jobs.log import get_logger
from jobclaim.recovery.report import SweepReport
from jobclaim.specs import systemd

log = get_logger("jobclaim.recovery")


def run_every(
    seconds: float,
    run: Callable[[], SweepReport],
    stop: Event,
    *,
    on_report: Callable[[SweepReport], None] | None = None,
) -> int:
    """Run passes until ``stop`` is set: the first one at once, each further one ``seconds`` after the start of the
    last.

    A failed pass is logged and the next one is tried: its cause may have ended by then.

    Parameters
    ----------
    run : callable
        Runs one pass: ``lambda: sweep(repo)``.
    on_report : callable, optional
        Gets each report; default: it is logged.

    Returns
    -------
    int
        Number of passes that succeeded.
    """
    succeeded = 0
    systemd.notify(systemd.READY)
    while not stop.is_set():
        started = time.monotonic()
        try:
            report = run()
            (on_report or log_report)(report)
            succeeded += 1
        except Exception as error:
            log.exception("recovery.pass_failed", error=type(error).__name__)
        # also after a failed pass: restarting this process would not end an outage of AWS
        systemd.notify(systemd.ALIVE)
        stop.wait(max(0.0, seconds - (time.monotonic() - started)))
    return succeeded


def log_report(report: SweepReport) -> None:
    """Write a report as one line."""
    log.info("recovery.pass_completed", **report.counts())
