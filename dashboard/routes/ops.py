"""`/healthz` for load balancers, `/metrics` for Prometheus."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import page, services_of
from jobclaim.dashboard.queries import metrics
from jobclaim.dashboard.security.asgi import HEALTH


async def health(_: Request) -> Response:
    """Report that this process responds. Does not call AWS: a new process would not fix an outage."""
    return PlainTextResponse("ok\n")


def show(request: Request) -> Response:
    """Write the metrics as text; no template."""
    meter = current()
    assert meter is not None
    return Response(metrics.read(services_of(request), meter), media_type=metrics.MEDIA_TYPE)


ROUTES: Final[list[BaseRoute]] = [
    Route(HEALTH, health, name="health"),
    page("/metrics", show, name="metrics", budget=metrics.budget),
]
