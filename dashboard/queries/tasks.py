"""The tasks: runs, failure rate, durations and waits, and what is unusual about a task compared with its week
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.services import Services
from jobclaim.fleet.statistics import (
    LIST_DAYS,
    LIST_REQUESTS,
    MONTH_DAYS,
    MOST_ENTRIES,
    MOST_TASKS,
    Figures,
    Listed,
    TaskRuns,
    read_task,
    read_tasks,
)
from jobclaim.jobs.storage.statistics import ALL, DAY_MS, HOUR_MS, Code
from jobclaim.views.tasks import figures_record, task_record
from jobclaim.views.unusual import Unusual, unusual

FRESH_MS: Final = 60_000
"""How long statistics are shared: processes write theirs every five minutes."""
ITEM_UNITS: Final = 3.5
"""Read units of a task's day at its largest."""
ENTRY_UNITS: Final = 0.2
ONE_BUDGET: Final = Budget(1, MONTH_DAYS * ITEM_UNITS)
LIST_BUDGET: Final = Budget(LIST_REQUESTS, MOST_ENTRIES * ENTRY_UNITS + MOST_TASKS * LIST_DAYS * ITEM_UNITS)
BUDGET: Final = ONE_BUDGET + LIST_BUDGET
OUTCOMES: Final = (
    charts.Series("completed", "completed", "ok"),
    charts.Series("retried", "failed and retried", "warn"),
    charts.Series("failed", "failed", "bad"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksView:
    """The list of tasks.

    Attributes
    ----------
    rows : list of dict
        Records of the tasks as `jobclaim.views.tasks.task_record` makes them; unusual ones first, then by runs.
    together : dict
        The same fields for all tasks together, over the last 24 hours.
    """

    rows: list[dict[str, Any]]
    together: dict[str, Any]
    hours: charts.ColumnChart
    days: charts.ColumnChart
    more: bool
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task: its last 24 hours by hour, and its last 30 days by day."""

    record: dict[str, Any]
    hours: charts.ColumnChart
    days: charts.ColumnChart
    duration: charts.ColumnChart
    wait: charts.ColumnChart


def everything(services: Services) -> TaskRuns:
    """Read the totals of all tasks, at most a minute old. Raises `StoreUnavailable`."""
    return one(services, ALL)


def one(services: Services, task: str) -> TaskRuns:
    """Read one task, at most a minute old. Raises `StoreUnavailable`."""
    table, now = services.repo.table, services.clock()
    return services.shared.get(("task", task), lambda: read_task(table, task, now), fresh_ms=FRESH_MS)


def listed(services: Services) -> Listed:
    """Read the tasks that ran lately, at most a minute old. Raises `StoreUnavailable`."""
    table, now, together = services.repo.table, services.clock(), services.together
    return services.shared.get("tasks", lambda: read_tasks(table, now, together), fresh_ms=FRESH_MS)


def unusual_tasks(services: Services) -> list[Unusual]:
    """Return what is unusual about tasks' last runs. Raises `StoreUnavailable`."""
    now = services.clock()
    return [found for task in listed(services).tasks for found in unusual(task, now)]


def read(services: Services) -> TasksView:
    """Read the list. Raises `StoreUnavailable`."""
    found, now, together = listed(services), services.clock(), everything(services)
    rows = [task_record(task, now) for task in found.tasks]
    return TasksView(
        rows=sorted(rows, key=lambda row: (not row["unusual"], -row["runs"], row["task"])),
        together=figures_record(together.last_day(now)),
        hours=outcomes("Runs in the last 24 hours", together.by_hour(now), HOUR_MS),
        days=outcomes("Runs in the last 30 days", together.by_day(now), DAY_MS),
        more=found.more,
        counted=services.settings.statistics,
    )


def read_one(services: Services, task: str) -> TaskView:
    """Read one task. Raises `StoreUnavailable`."""
    found, now = one(services, task), services.clock()
    hours = found.by_hour(now)
    return TaskView(
        record=task_record(found, now),
        hours=outcomes("Runs in the last 24 hours", hours, HOUR_MS),
        days=outcomes("Runs in the last 30 days", found.by_day(now), DAY_MS),
        duration=_percentile("p95 of duration", hours, "p95_ms", "run"),
        wait=_percentile("p95 of wait", hours, "wait_p95_ms", "plan"),
    )


def outcomes(title: str, steps: Sequence[tuple[int, Figures]], step_ms: int) -> charts.ColumnChart:
    """Lay out how runs ended, over time."""
    points = [
        (
            at,
            {
                "completed": figures.codes[Code.COMPLETED],
                "retried": figures.codes[Code.RETRIED],
                "failed": figures.codes[Code.FAILED],
            },
        )
        for at, figures in steps
    ]
    return charts.column_chart(title, OUTCOMES, points, step_ms=step_ms)


def _percentile(title: str, steps: Sequence[tuple[int, Figures]], field: str, tone: str) -> charts.ColumnChart:
    points = [(at, {field: figures_record(figures)[field] or 0}) for at, figures in steps]
    return charts.column_chart(f"{title}, ms", (charts.Series(field, "ms", tone),), points, step_ms=HOUR_MS)
