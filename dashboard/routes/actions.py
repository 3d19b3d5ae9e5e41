"""Forms that make changes. Each responds with a redirect to a page that shows the result."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from jobclaim.dashboard import acts, pausing
from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.pages import form, link, services_of
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.jobs.storage.pauses import PauseKind

BUDGET: Final = Budget(requests=40, read_units=8 * 2 * HEAVIEST)
"""Cost of an action: a job, reread when it changes concurrently; its worker; two audit entries."""


def act(request: Request, fields: dict[str, str]) -> Response:
    """Retry, cancel, resolve or abandon a job: fields ``verb``, ``id``, ``reason``. Redirects to the job's page."""
    verb, job_id = fields.get("verb", ""), fields.get("id", "")
    acts.act_on_job(services_of(request), verb, job_id, person_of(request), fields.get("reason", ""))
    return RedirectResponse(link(request, "job", {"id": job_id, "asked": verb}), status_code=303)


def resume(request: Request, fields: dict[str, str]) -> Response:
    """Deliver the value that a job waits for: fields ``id``, ``name``, ``payload`` (JSON). Redirects to the job."""
    job_id = fields.get("id", "")
    name, payload = fields.get("name", ""), fields.get("payload", "")
    acts.resume(services_of(request), job_id, name, payload, person_of(request))
    return RedirectResponse(link(request, "job", {"id": job_id, "asked": "resume"}), status_code=303)


def drain(request: Request, fields: dict[str, str]) -> Response:
    """Request a worker to stop: fields ``id``, ``reason``. Redirects to the workers' page, with ``asked=<id>``."""
    worker_id = fields.get("id", "")
    acts.drain(services_of(request), worker_id, person_of(request), fields.get("reason", ""))
    return RedirectResponse(link(request, "workers", {"asked": worker_id}), status_code=303)


def pause(request: Request, fields: dict[str, str]) -> Response:
    """Pause: fields ``kind``, ``name``, ``reason``, ``lasts``, and ``job`` to come back to. Redirects to its page."""
    kind, name = fields.get("kind", ""), fields.get("name", "")
    reason, lasts = fields.get("reason", ""), fields.get("lasts", "")
    pausing.pause(services_of(request), kind, name, person_of(request), reason, lasts)
    return _back(request, fields)


def unpause(request: Request, fields: dict[str, str]) -> Response:
    """End a pause: fields ``kind``, ``name``, ``reason``, and ``job`` to come back to. Redirects as `pause`."""
    kind, name = fields.get("kind", ""), fields.get("name", "")
    pausing.unpause(services_of(request), kind, name, person_of(request), fields.get("reason", ""))
    return _back(request, fields)


def run_schedule(request: Request, fields: dict[str, str]) -> Response:
    """Run a schedule now: fields ``id`` (the schedule's name) and ``reason``. Redirects to the schedules."""
    name = fields.get("id", "")
    pausing.run_schedule(services_of(request), name, person_of(request), fields.get("reason", ""))
    return RedirectResponse(link(request, "schedules", {"asked": name}), status_code=303)


def _back(request: Request, fields: dict[str, str]) -> Response:
    if fields.get("job"):
        return RedirectResponse(link(request, "job", {"id": fields["job"]}), status_code=303)
    if fields.get("kind") == PauseKind.TASK:
        return RedirectResponse(link(request, "task", {"name": fields.get("name", "")}), status_code=303)
    page = "schedules" if fields.get("kind") == PauseKind.SCHEDULE else "queues"
    return RedirectResponse(link(request, page), status_code=303)


ROUTES: Final[list[BaseRoute]] = [
    form("/act", act, name="act", budget=lambda _: BUDGET),
    form("/resume", resume, name="resume", budget=lambda _: BUDGET),
    form("/drain", drain, name="drain", budget=lambda _: BUDGET),
    form("/pause", pause, name="pause", budget=lambda _: BUDGET),
    form("/unpause", unpause, name="unpause", budget=lambda _: BUDGET),
    form("/schedule/run", run_schedule, name="schedule_run", budget=lambda _: BUDGET),
]
