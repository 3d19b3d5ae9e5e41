"""`/healthz` for load balancers."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from dashboard.security.asgi import HEALTH


async def health(_: Request) -> Response:
    """Say that this process answers. It asks AWS nothing: a new process would not mend an outage."""
    return PlainTextResponse("ok\n")


ROUTES: Final[list[BaseRoute]] = [Route(HEALTH, health, name="health")]
