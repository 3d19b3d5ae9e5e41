"""A figure that a task sets itself wins over that of its base class."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.workers import (
    EmailTask,
    ExternalAPITask,
    IdempotentTask,
    JobTask,
    MaintenanceTask,
    ReportTask,
    create_app,
)
from tests.unit.test_task_limits import SETTINGS, body

BASES = (JobTask, IdempotentTask, EmailTask, ReportTask, MaintenanceTask, ExternalAPITask)
FIGURES = {
    "default_retry_delay": 30,
    "max_retries": 7,
    "time_limit": 90,
    "soft_time_limit": 40,
    "idempotency_ttl": 77,
    "rate_limit": "9/m",
    "rate_burst": 4,
    "concurrency_limit": 3,
    "on_orphan": "retry",
    "critical": True,
    "expires": 55,
}


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_of_a_task_is_its_own(base: Any, figure: str) -> None:
    app = create_app(SETTINGS)
    app.task(name="t.own", base=base, shared=False, **{figure: FIGURES[figure]})(body)
    assert getattr(app.tasks["t.own"], figure) == FIGURES[figure]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
@pytest.mark.parametrize("delay", [0, 30, 7200])
def test_a_retry_waits_for_the_tasks_own_delay(base: Any, delay: int) -> None:
    app = create_app(SETTINGS)
    app.task(name="t.own", base=base, shared=False, default_retry_delay=delay)(body)
    task = app.tasks["t.own"]
    policy = task.retry_policy
    delays = [policy.decide(OSError(), attempt).delay for attempt in (1, 2)] if policy else [task.default_retry_delay]
    assert set(delays) == {delay}


def test_a_policy_of_ones_own_beside_a_delay_counts() -> None:
    policy = EmailTask.retry_policy

    class Own(EmailTask):
        abstract = True
        retry_policy = policy
        default_retry_delay = 1

    assert Own.retry_policy is policy


def test_an_error_that_is_never_tried_again_stays_so_with_a_delay_of_ones_own() -> None:
    app = create_app(SETTINGS)
    app.task(name="t.own", base=EmailTask, shared=False, default_retry_delay=1)(body)
    assert not app.tasks["t.own"].retry_policy.decide(NotImplementedError(), 1).retry
