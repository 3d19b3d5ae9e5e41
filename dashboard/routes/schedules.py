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

    Template ``schedules.html``: ``seen``, a `jobclaim.dashboard.queries.schedules.SchedulesView`.
    """
    meter = current()
    assert meter is not None
    return render(request, "schedules.html", {"seen": schedules.read(services_of(request), meter)})


ROUTES: Final[list[BaseRoute]] = [page("/schedules", show, name="schedules", budget=schedules.budget)]
