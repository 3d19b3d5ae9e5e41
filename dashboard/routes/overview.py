"""`/`: the overview, and what needs attention."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import overview


def show(request: Request) -> Response:
    """Show the overview.

    Renders ``overview.html`` with ``seen``, an `jobclaim.dashboard.queries.overview.Overview`: ``figures`` and
    ``needs`` (each with ``page`` and ``query``, for ``url(page, query)``), the charts ``ended`` and ``submitted``,
    ``queues``, ``fleet``, ``notes``.
    """
    meter = current()
    assert meter is not None
    return render(request, "overview.html", {"seen": overview.read(services_of(request), meter)})


ROUTES: Final[list[BaseRoute]] = [page("/", show, name="overview", budget=overview.budget)]
