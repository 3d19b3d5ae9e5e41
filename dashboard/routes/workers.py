"""`/workers`: the workers, their state and their jobs; request a worker to drain."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import workers


def show(request: Request) -> Response:
    """Show the workers.

    Renders ``workers.html`` with ``seen``, a `jobclaim.dashboard.queries.workers.WorkersView`, and ``asked``, the id of
    the worker that was just requested to drain, or "".

    Draining is a form ``POST`` to ``url("drain")`` with the fields ``id`` and ``reason``; it leads back here with
    ``?asked=<id>``.
    """
    meter = current()
    assert meter is not None
    asked = request.query_params.get("asked", "")[:300]
    return render(request, "workers.html", {"seen": workers.read(services_of(request), meter), "asked": asked})


ROUTES: Final[list[BaseRoute]] = [page("/workers", show, name="workers", budget=workers.budget)]
