"""`/workers`: to be written."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from dashboard.meter import Budget
from dashboard.pages import page, render


def show(request: Request) -> Response:
    """Show that nothing is here yet."""
    return render(request, "error.html", {"status": 501, "title": "workers", "message": "Not written yet."}, status=501)


ROUTES: Final[list[BaseRoute]] = [page("/workers", show, name="workers", budget=lambda _: Budget(0))]
