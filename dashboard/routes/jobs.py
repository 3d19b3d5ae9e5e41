"""`/jobs`: running, waiting and ended jobs, with combined filters, a page at a time."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import current
from jobclaim.dashboard.pages import link, page, render, services_of
from jobclaim.dashboard.queries import jobs


def show(request: Request) -> Response:
    """List jobs.

    Template ``jobs.html``:

    ``rows``        list of records (`views.records.job_record`) with ``remark``; times as ``created_at_ms`` and so on
    ``query``       `jobclaim.dashboard.queries.jobs.JobQuery`: the requested filters
    ``choices``     by filter name, the choices: status, queue, kind, state, order
    ``notes``       list of str
    ``stopped``     why the page ends before it is full, or ""
    ``looked_at``   jobs that were read for it
    ``next_url``    continues the list, or ``None`` at its end
    ``first_url``   the list's first page, or ``None`` on it
    ``cli``         the equivalent command
    """
    services = services_of(request)
    query = jobs.JobQuery.of(request.query_params, services.settings)
    meter = current()
    assert meter is not None
    listed = services.shared.get(("jobs", query), lambda: jobs.read(services, query, meter))
    kept = query.parameters()
    context: dict[str, Any] = {
        "rows": listed.rows,
        "query": query,
        "choices": jobs.choices(services.settings),
        "notes": listed.notes,
        "stopped": listed.found.stopped,
        "looked_at": listed.found.looked_at,
        "next_url": link(request, "jobs", {**kept, "cursor": listed.found.cursor}) if listed.found.cursor else None,
        "first_url": link(request, "jobs", kept) if query.cursor else None,
        "cli": jobs.command_line(query),
    }
    return render(request, "jobs.html", context)


ROUTES: Final[list[BaseRoute]] = [page("/jobs", show, name="jobs", budget=jobs.budget)]
