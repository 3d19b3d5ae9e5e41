"""`/job?id=`: one job. The id is a parameter, because ids may contain characters that a path cannot."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.pages import page, render, services_of
from jobclaim.dashboard.queries import job as queries


def show(request: Request) -> Response:
    """Show one job.

    Renders ``job.html`` with:

    ``job``      `jobclaim.dashboard.queries.job.JobView`: record, payload, result, next, attempts (`Held`), timeline
                 (`views.timeline.TimelineEntry`: at, what, detail), links (`Links`: before, after, group_id), actions,
                 hidden
    ``notice``   `dashboard.queries.job.Notice` about the action just requested (``state``, ``text``), or ``None``
    ``live``     whether the job can still change by itself, so that the page refreshes

    An action is a form ``POST`` to ``url("act")`` with the fields ``verb``, ``id`` and, if wanted, ``reason``; it leads
    back here with ``&asked=<verb>``.
    """
    services = services_of(request)
    job, seen = queries.read(services, request.query_params.get("id", ""))
    notice = queries.notice(request.query_params.get("asked", ""), job, seen)
    context = {"job": seen, "notice": notice, "live": job.status.is_open or seen.record["dead_state"] == "SCHEDULED"}
    return render(request, "job.html", context)


ROUTES: Final[list[BaseRoute]] = [page("/job", show, name="job", budget=queries.budget)]
