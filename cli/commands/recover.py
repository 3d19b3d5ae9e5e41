"""`jobclaim recover`: run recovery by hand, or as a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, report_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration

if TYPE_CHECKING:
    from jobclaim.jobs import Job
    from jobclaim.recovery import SweepReport

MIN_EVERY_MS: Final = 100
EVENT: Final = {"event": "recovery.pass_completed"}
"""In each line of a process that goes on: its output is a log, and the metric filters count this event."""


@click.command(
    epilog="""\b
Examples:
  jobclaim recover                one pass
  jobclaim recover --every 30     a pass every 30 seconds, until Ctrl-C or SIGTERM
  jobclaim recover -o json | jq .orphaned
"""
)
@click.option("--every", type=Duration(), help="Repeat the pass at this interval: 30, 1m.")
@report_option
@pass_session
def command(session: Session, every: int | None, output: Format | None) -> None:
    """Find orphans and lost messages: fail or retry the orphans, and send the messages again.

    Safe to run alongside scheduled recovery and other copies of this command: every write is conditional on what was
    read. A single pass exits with 5 when it could not read, write or send something; the next pass tries it again.
    """
    if every is not None and every < MIN_EVERY_MS:
        raise click.BadParameter(f"{every} ms is too short; the minimum is {MIN_EVERY_MS} ms", param_hint="--every")
    out = Output(output)
    if every is not None:
        _keep_sweeping(session, every / 1000, out)
        return
    report = _sweep(session)
    _print(report, out)
    click.get_current_context().exit(ExitCode.PARTIAL if report.failed or report.unsent else ExitCode.OK)


def _keep_sweeping(session: Session, seconds: float, out: Output) -> None:
    from jobclaim.recovery.loop import run_every

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run_every(seconds, lambda: _sweep(session), stop, on_report=lambda report: _print(report, out, **EVENT))


def _sweep(session: Session) -> SweepReport:
    from jobclaim.recovery import sweep
    from jobclaim.recovery.alerts import evaluate
    from jobclaim.workers.submission.dispatch import publish

    def send(job: Job, delay_seconds: float) -> None:
        publish(session.app, job, delay_seconds)

    report = sweep(session.repo, send=send)
    evaluate(session.repo)
    return report


def _print(report: SweepReport, out: Output, **event: str) -> None:
    counts = report.counts()
    out.fact({**event, **counts}, _sentence(counts))
    sys.stdout.flush()


def _sentence(counts: dict[str, int]) -> str:
    """Summarize a pass in one line: what it examined, then every count that is not zero."""
    acted = [f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if value and name != "examined"]
    return f"{counts['examined']} jobs examined: {', '.join(acted) or 'nothing to do'}."
