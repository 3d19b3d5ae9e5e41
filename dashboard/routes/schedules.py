"""`/schedules`: next ticks, last results, findings."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import schedules


def show(request: Request) -> Response:
    """Show the schedules.

    Renders ``schedules.html`` with ``seen``, a `jobclaim.dashboard.queries.schedules.SchedulesView`, and ``asked``, the
    name of the schedule that was just run by hand, or "".
    """
    meter = current()
    assert meter is not None
    asked = request.query_params.get("asked", "")[:300]
    return render(request, "schedules.html", {"seen": schedules.read(services_of(request), meter), "asked": asked})


ROUTES: Final[list[BaseRoute]] = [page("/schedules", show, name="schedules", budget=schedules.budget)]
