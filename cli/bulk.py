"""Apply an action to several jobs: continue after a refusal, and report at the end how many were refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from jobclaim.cli.errors import Refused, explain
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Output, remark

if TYPE_CHECKING:
    from jobclaim.jobs import Job
    from jobclaim.jobs.clock import Clock
    from jobclaim.recovery.dead import ActReport


def for_each(job_ids: Sequence[str], act: Callable[[str], Job], *, clock: Clock, out: Output) -> None:
    """Apply an action to each job and write the resulting jobs.

    Ends the command with the code of `exit_code`.
    """
    from jobclaim.cli.job_columns import columns
    from jobclaim.fleet.acting import current_act
    from jobclaim.jobs import JobError
    from jobclaim.views.records import job_record

    done: list[Job] = []
    refused: list[Refused] = []
    for job_id in job_ids:
        try:
            done.append(act(job_id))
        except JobError as error:
            refused.append(explain(error))
    current_act().count(done=len(done), refused=len(refused))
    if done:
        out.many([job_record(job) for job in done], columns(clock()), empty="")
    for refusal in refused:
        refusal.show()
    click.get_current_context().exit(exit_code(len(done), [refusal.exit_code for refusal in refused]))


def print_progress(verb: str) -> Callable[[ActReport], None]:
    """Return a callback that reports progress every two seconds."""
    printed_at = time.monotonic()

    def print_if_due(report: ActReport) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at >= 2:
            printed_at = time.monotonic()
            remark(f"{verb}: {report.done} done, {len(report.refused)} refused")

    return print_if_due


def exit_code(done: int, refusals: Sequence[int]) -> int:
    """Choose the exit code: refusals of one kind keep that kind's code; mixed ones give ``ERROR`` or ``PARTIAL``."""
    if not refusals:
        return ExitCode.OK
    if done:
        return ExitCode.PARTIAL
    return refusals[0] if len(set(refusals)) == 1 else ExitCode.ERROR
