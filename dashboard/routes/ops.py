"""`/healthz` and `/metrics`."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute

ROUTES: Final[list[BaseRoute]] = []
