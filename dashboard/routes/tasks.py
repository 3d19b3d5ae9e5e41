"""`/tasks` and `/task?name=`: statistics of runs, by task, hour and day."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import fleet, tasks
from jobclaim.jobs.storage.pauses import PauseKind


def show(request: Request) -> Response:
    """Show the tasks.

    Renders ``tasks.html`` with ``seen``, a `jobclaim.dashboard.queries.tasks.TasksView`.
    """
    return render(request, "tasks.html", {"seen": tasks.read(services_of(request))})


def show_one(request: Request) -> Response:
    """Show one task.

    Renders ``task.html`` with ``seen``, a `jobclaim.dashboard.queries.tasks.TaskView`, and ``pause``, the task's pause.
    """
    services, name = services_of(request), request.query_params.get("name", "")
    seen = tasks.read_one(services, name)
    pause = fleet.read(services).pauses.of(PauseKind.TASK, name, services.clock())
    return render(request, "task.html", {"seen": seen, "pause": pause})


ROUTES: Final[list[BaseRoute]] = [
    page("/tasks", show, name="tasks", budget=lambda _: tasks.BUDGET),
    page("/task", show_one, name="task", budget=lambda _: tasks.ONE_BUDGET + fleet.BUDGET),
]
