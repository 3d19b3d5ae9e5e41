"""Calls of the JSON API about tasks: the statistics of `/tasks` and `/task`."""

from __future__ import annotations

from typing import Any, Final

from jobclaim.dashboard.openapi import Call, Parameter, listing, reference
from jobclaim.dashboard.person import Person
from jobclaim.dashboard.queries import tasks
from jobclaim.dashboard.services import Services
from jobclaim.views.schemas import BOOLEAN, STRING, many, record
from jobclaim.views.tasks import step_record, task_record


def list_tasks(services: Services, _: Any, __: Person) -> dict[str, Any]:
    """Return the tasks that ran lately."""
    found, now = tasks.listed(services), services.clock()
    return {"items": [task_record(task, now) for task in found.tasks], "more": found.more}


def show_task(services: Services, params: Any, _: Person) -> dict[str, Any]:
    """Return one task by hour and by day."""
    found, now = tasks.one(services, params.get("name", "")), services.clock()
    return {
        "task": task_record(found, now),
        "hours": [step_record(at, figures) for at, figures in found.by_hour(now)],
        "days": [step_record(at, figures) for at, figures in found.by_day(now)],
    }


CALLS: Final = (
    Call(
        path="/tasks",
        method="GET",
        name="listTasks",
        summary="Show runs, failure rate, durations and waits of the tasks that ran since yesterday.",
        answer=listing("Task", more=BOOLEAN),
        handler=list_tasks,
        budget=lambda _: tasks.LIST_BUDGET,
    ),
    Call(
        path="/task",
        method="GET",
        name="showTask",
        summary="Show one task by hour and by day; without a name, all tasks together.",
        parameters=(Parameter(name="name", description="Name of the task.", schema=STRING),),
        answer=record(
            {"task": reference("Task"), "hours": many(reference("RunsOfTime")), "days": many(reference("RunsOfTime"))},
            "The last 24 hours and the last 30 days.",
        ),
        handler=show_task,
        budget=lambda _: tasks.ONE_BUDGET,
    ),
)
