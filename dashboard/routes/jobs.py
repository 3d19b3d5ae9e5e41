"""`/jobs`: running, waiting and ended jobs, with combined filters, a page at a time."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import Budget, current
from jobclaim.dashboard.operations import Operation, Progress
from jobclaim.dashboard.pages import form, link, page, render, services_of
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.queries import cancels, jobs
from jobclaim.dashboard.queries.dead import MOST_AT_ONCE, number
from jobclaim.dashboard.queries.job_query import JobQuery, choices, command_line
from jobclaim.fleet.acting import recorded_elsewhere
from jobclaim.recovery.cancels import Cancels, OpenJobs
from jobclaim.recovery.dead import ActReport
from jobclaim.views.job_filter import looked_through

SHOWN: Final = 20
"""Jobs that a preview names."""


def show(request: Request) -> Response:
    """List jobs.

    Renders ``jobs.html`` with:

    ``rows``        list of records (`views.records.job_record`) with ``remark``; times as ``created_at_ms`` and so on
    ``query``       `jobclaim.dashboard.queries.job_query.JobQuery`: the requested filters
    ``choices``     by filter name, the choices: status, queue, kind, state, order
    ``notes``       list of str
    ``stopped``     why the page ends before it is full, or ""
    ``looked``      which jobs were read for it, in words; of interest if ``is_search``
    ``next_url``    continues the list, or ``None`` at its end
    ``first_url``   the list's first page, or ``None`` on it
    ``cli``         the equivalent command
    ``cancel_url``  the preview of cancelling the open jobs that match, or ``None`` if the list has none or no filter
    """
    services = services_of(request)
    query = JobQuery.of(request.query_params, services.settings)
    meter = current()
    assert meter is not None
    listed = services.shared.get(("jobs", query), lambda: jobs.read(services, query, meter))
    kept = query.parameters()
    context: dict[str, Any] = {
        "rows": listed.rows,
        "query": query,
        "choices": choices(services.settings),
        "notes": listed.notes,
        "stopped": listed.found.stopped,
        "looked": looked_through(listed.found.looked_at, listed.found.span, query.status),
        "is_search": not query.filter(services.clock()).is_empty,
        "next_url": link(request, "jobs", {**kept, "cursor": listed.found.cursor}) if listed.found.cursor else None,
        "first_url": link(request, "jobs", kept) if query.cursor else None,
        "cli": command_line(query),
        "cancel_url": link(request, "jobs_cancel", kept) if cancels.is_possible(query) else None,
    }
    return render(request, "jobs.html", context)


def preview(request: Request) -> Response:
    """Preview the cancellation of the open jobs that match a filter.

    Renders ``jobs_cancel.html`` with:

    ``act``       `jobclaim.dashboard.queries.cancels.CancelQuery`: query, most, rate, reason
    ``rows``      the first of the jobs, as in the list; ``count`` is how many match among those read
    ``looked_at``, ``complete``    jobs that were read, and whether these are all
    ``fields``    hidden fields of the form; the visible ones are ``most``, ``rate`` and ``reason``
    ``cli``       the command that does the same
    ``back_url``  the list

    The form is sent to ``url("jobs_cancel_start")``.
    """
    services = services_of(request)
    act = cancels.CancelQuery.of(request.query_params, services.settings, services.clock())
    meter = current()
    assert meter is not None
    listed = jobs.read(services, act.query, meter)
    complete = listed.found.cursor is None
    context: dict[str, Any] = {
        "act": act,
        "rows": listed.rows[:SHOWN],
        "count": len(listed.rows),
        "looked_at": listed.found.looked_at,
        "complete": complete,
        "fields": {"filter": act.filter_text(), "expected": len(listed.rows) if complete else 0},
        "cli": act.cli(),
        "back_url": link(request, "jobs", act.query.parameters()),
    }
    return render(request, "jobs_cancel.html", context)


def start(request: Request, fields: dict[str, str]) -> Response:
    """Start a cancellation; redirects to its page, whose URL is enough to start it again."""
    services, person = services_of(request), person_of(request)
    recorded_elsewhere()  # the operation's thread records what it does
    act = cancels.CancelQuery.of_form(fields, services.settings, services.clock())
    operation = services.operations.start(
        cancels.CANCEL,
        selection := act.selection(services.clock()),
        partial(_cancelling, services.cancels, selection),
        what=selection.what,
        by=person.name,
        reason=act.reason,
        limit=act.most,
        rate=act.rate,
        expected=int(number(fields.get("expected", ""), "expected", 0, most=MOST_AT_ONCE)),
    )
    services.shared.forget()
    parameters = {**act.parameters(), "verb": cancels.CANCEL}
    return RedirectResponse(link(request, "operation", {"key": operation.key, **parameters}), status_code=303)


def _cancelling(found: Cancels, selection: OpenJobs, operation: Operation, progress: Progress) -> ActReport:
    return found.act(
        selection,
        by=operation.by,
        reason=operation.reason,
        limit=operation.limit,
        rate=operation.rate,
        progress=progress,
    )


ROUTES: Final[list[BaseRoute]] = [
    page("/jobs", show, name="jobs", budget=jobs.budget),
    page("/jobs/cancel", preview, name="jobs_cancel", budget=jobs.budget),
    form("/jobs/cancel/start", start, name="jobs_cancel_start", budget=lambda _: Budget(0)),
]
