"""`/queues`: depth, the oldest waiting job, SLA, breakers."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import queues


def show(request: Request) -> Response:
    """Show the queues.

    Renders ``queues.html`` with ``seen``, a `jobclaim.dashboard.queries.queues.QueuesView`.
    """
    meter = current()
    assert meter is not None
    return render(request, "queues.html", {"seen": queues.read(services_of(request), meter)})


ROUTES: Final[list[BaseRoute]] = [page("/queues", show, name="queues", budget=queues.budget)]
