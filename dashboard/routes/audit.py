"""`/audit`: the audit trail, by who, what and when."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.pages import link, page, render, services_of
from jobclaim.dashboard.queries import audit


def show(request: Request) -> Response:
    """Show entries, newest first.

    Renders ``audit.html`` with ``query``, an `dashboard.queries.audit.AuditQuery`; ``entries``, of
    `jobclaim.fleet.audit.AuditEntry`; ``is_job``, whether a text is a job's id; ``looked_at``, how many were read;
    ``more_url``, the URL of older entries, or ``None``; ``first_url``, that of the newest, or ``None`` on the first
    view.
    """
    query = audit.AuditQuery.of(request.query_params)
    found = audit.read(services_of(request), query)
    cursor = audit.cursor_of(found)
    kept = query.parameters()
    context = {
        "query": query,
        "entries": found.entries,
        "is_job": audit.JOB_ID.fullmatch,
        "looked_at": found.looked_at,
        "more_url": link(request, "audit", {**kept, "cursor": cursor}) if cursor else None,
        "first_url": link(request, "audit", kept) if query.cursor else None,
    }
    return render(request, "audit.html", context)


ROUTES: Final[list[BaseRoute]] = [page("/audit", show, name="audit", budget=lambda _: audit.BUDGET)]
