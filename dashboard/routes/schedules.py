"""`/schedules`: to be written."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from dashboard.meter import Budget
from dashboard.pages import page, render


def show(request: Request) -> Response:
    """Show that nothing is here yet."""
    return render(
        request, "error.html", {"status": 501, "title": "schedules", "message": "Not written yet."}, status=501
    )


ROUTES: Final[list[BaseRoute]] = [page("/schedules", show, name="schedules", budget=lambda _: Budget(0))]
