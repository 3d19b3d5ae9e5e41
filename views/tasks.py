"""Statistics of tasks as JSON: one schema for `-o json` and for the dashboard's API.

Durations and waits are percentiles from a histogram, at most 17 % off; they are ``null`` where nothing was counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobclaim.jobs.storage.statistics import Code
from jobclaim.views.humane import iso
from jobclaim.views.unusual import unusual

if TYPE_CHECKING:
    from jobclaim.fleet.statistics import Figures, TaskRuns


def task_record(task: TaskRuns, now: int) -> dict[str, Any]:
    """Build the JSON record of a task's last 24 hours, and of what is unusual about its last runs."""
    unusual_texts = [one.text for one in unusual(task, now)]
    return {"task": task.task, **figures_record(task.last_day(now)), "unusual": unusual_texts}


def step_record(at: int, figures: Figures) -> dict[str, Any]:
    """Build the JSON record of an hour or a day."""
    return {"at": iso(at), "at_ms": at, **figures_record(figures)}


def figures_record(figures: Figures) -> dict[str, Any]:
    """Build the fields that describe the runs of some hours."""
    codes, rate = figures.codes, figures.failure_rate
    return {
        "runs": figures.runs,
        "completed": codes[Code.COMPLETED],
        "failed": codes[Code.FAILED],
        "retried": codes[Code.RETRIED],
        "cancelled": codes[Code.CANCELLED],
        "failure_rate": _rounded(rate),
        "p50_ms": figures.duration(0.5),
        "p95_ms": figures.duration(0.95),
        "wait_p50_ms": figures.wait(0.5),
        "wait_p95_ms": figures.wait(0.95),
        "retry_success": _rounded(figures.retry_success),
        "healed": codes[Code.HEALED],
        "failed_again": codes[Code.FAILED_AGAIN],
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
