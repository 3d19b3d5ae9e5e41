"""`jobclaim tasks`: runs, failure rate, durations and waits by task, hour and day."""

from __future__ import annotations

from typing import Any

import click

from jobclaim.cli.output import Column, Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.views.humane import clock_minute, percent, span

LATE = "Each process writes its runs within five minutes."


@click.command(
    epilog="""\b
Examples:
  jobclaim tasks
  jobclaim tasks shop.charge
  jobclaim tasks shop.charge --by day -o json
  jobclaim tasks --by day                      all tasks together
  jobclaim tasks -o jsonl | jq -r 'select(.unusual != []) | .task'
"""
)
@click.argument("task", default="", required=False)
@click.option("--by", type=click.Choice(("hour", "day")), help="The last 24 hours, or 30 days, one row each (UTC).")
@output_option
@pass_session
def command(session: Session, task: str, by: str | None, output: Format | None) -> None:
    """Show what ran in the last 24 hours, by task: runs, failure rate, p50 and p95 of duration and wait.

    With the name of a TASK: the same by hour. A run is an attempt that completed or failed; one that is retried has
    failed. Durations are those of completed runs. A task is marked if it failed unusually often or ran unusually long
    compared with the week before. Makes at most ten requests, and shows at most 100 tasks.
    """
    if not session.settings.statistics:
        remark("Statistics are off: JOBCLAIM_STATISTICS=true counts runs from now on.")
    if task or by:
        _steps(session, task, by or "hour", Output(output, id_field="at"))
    else:
        _tasks(session, Output(output, id_field="task"))


def _tasks(session: Session, out: Output) -> None:
    from jobclaim.fleet.statistics import MOST_TASKS, read_tasks
    from jobclaim.views.tasks import task_record

    now = session.now()
    found = read_tasks(session.repo.table, now)
    rows = [task_record(task, now) for task in found.tasks]
    out.many(rows, TASK_COLUMNS, empty=f"No task has run since yesterday. {LATE}", extra={"more": found.more})
    if out.format == "table":
        for row in rows:
            for text in row["unusual"]:
                remark(f"{row['task']}: {text}.")
    if found.more:
        remark(f"These are the {MOST_TASKS} tasks that ran last; to see another task, name it.")


def _steps(session: Session, task: str, by: str, out: Output) -> None:
    from jobclaim.fleet.statistics import read_task
    from jobclaim.views.tasks import step_record

    now = session.now()
    found = read_task(session.repo.table, task, now)
    steps = found.by_hour(now) if by == "hour" else found.by_day(now)
    rows = [step_record(at, figures) for at, figures in steps if figures.runs or out.format != "table"]
    first = Column(by, lambda row: clock_minute(row["at_ms"]) if by == "hour" else str(row["at"])[:10], fold=False)
    columns = [first, *FIGURES] if task else [first, *FIGURES[:2], *RETRIES]
    who = f"Task {task!r} has not" if task else "No task has"
    out.many(rows, columns, empty=f"{who} run in the last {PERIODS[by]}. {LATE}")


PERIODS = {"hour": "24 hours", "day": "30 days"}


def _span(name: str) -> Any:
    return lambda row: span(row[name]) if row[name] is not None else "-"


def _percent(name: str) -> Any:
    return lambda row: percent(row[name]) if row[name] is not None else "-"


FIGURES = [
    Column("runs", lambda row: str(row["runs"]), fold=False),
    Column("failed", _percent("failure_rate"), fold=False),
    Column("p50", _span("p50_ms"), fold=False),
    Column("p95", _span("p95_ms"), fold=False),
    Column("wait p50", _span("wait_p50_ms"), fold=False),
    Column("wait p95", _span("wait_p95_ms"), fold=False),
]
RETRIES = [
    Column("retries that completed", _percent("retry_success"), fold=False),
    Column("dead letters healed", lambda row: str(row["healed"]), fold=False),
    Column("failed again", lambda row: str(row["failed_again"]), fold=False),
]
TASK_COLUMNS = [
    Column("task", lambda row: str(row["task"]), lambda row: "bold red" if row["unusual"] else ""),
    *FIGURES,
]
