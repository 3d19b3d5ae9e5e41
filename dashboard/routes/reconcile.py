"""`/reconcile`: whether table, fleet and queues are consistent."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import reconcile


def show(request: Request) -> Response:
    """Show inconsistencies.

    Renders ``reconcile.html`` with ``seen``, a `jobclaim.dashboard.queries.reconcile.ReconcileView`.
    """
    meter = current()
    assert meter is not None
    return render(request, "reconcile.html", {"seen": reconcile.read(services_of(request), meter)})


ROUTES: Final[list[BaseRoute]] = [page("/reconcile", show, name="reconcile", budget=reconcile.budget)]
