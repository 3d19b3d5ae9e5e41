"""`/submit` and `/job/edit`: submissions by operators. A form that is refused is shown again with what was typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from jobclaim.dashboard import submitting
from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.pages import form, link, page, render, services_of
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.queries import fleet
from jobclaim.dashboard.queries import job as queries
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.services import Services
from jobclaim.fleet.acting import recorded_elsewhere
from jobclaim.fleet.registered import RegisteredTasks
from jobclaim.jobs import IllegalTransition, InvalidInput, InvalidPayload, Job
from jobclaim.jobs.encoding import codec
from jobclaim.settings import Settings

SETS: Final = 8
"""Sets of tasks that one view reads; workers with the same tasks share one."""
REFUSALS: Final = (InvalidInput, InvalidPayload, IllegalTransition, ImportError, TypeError, ValueError)
"""What a form may be corrected for: nothing was written."""


def show(request: Request) -> Response:
    """Show the form of a new job.

    Renders ``submit.html`` with:

    ``tasks``    names that live workers have registered
    ``queues``   names of the queues
    ``typed``    what was typed, by field: task, args, kwargs, queue, delay, key
    ``error``    why it was refused; empty at first
    ``title``    heading of the page

    The form is sent to ``url("submit_start")``.
    """
    return _form(request, request.query_params)


def start(request: Request, fields: dict[str, str]) -> Response:
    """Submit a job, and redirect to its page."""
    try:
        job = submitting.submit(services_of(request), fields, person_of(request))
    except REFUSALS as error:
        recorded_elsewhere()  # nothing was done, so there is nothing to record
        return _form(request, fields, error)
    return _to(request, job, "submit" if job.created else "existing")


def show_edit(request: Request) -> Response:
    """Show the form of an edited retry.

    Renders ``job_edit.html`` with:

    ``job``      its record; ``payload`` is what the text area holds
    ``typed``    what was typed, by field: payload, key, reason, resolve
    ``hidden``   whether arguments are hidden, so that they must be written anew
    ``error``    why it was refused; empty at first

    The form is sent to ``url("job_edit_start")``.
    """
    return _edit_form(request, request.query_params.get("id", ""), {})


def start_edit(request: Request, fields: dict[str, str]) -> Response:
    """Submit an edited retry, and redirect to the new job's page."""
    try:
        job, action = submitting.submit_edited(services_of(request), fields, person_of(request))
    except REFUSALS as error:
        recorded_elsewhere()  # nothing was done, so there is nothing to record
        return _edit_form(request, fields.get("id", ""), fields, error)
    return _to(request, job, action)


def tasks_of(services: Services) -> list[str]:
    """Return the tasks that live workers have registered. Reads the fleet table once, and once more per set of
    tasks.
    """
    alive = fleet.read(services).alive(services.clock(), services.settings.worker_dead_after_seconds)
    digests = sorted({one.tasks for one in alive if one.tasks})[:SETS]
    records = RegisteredTasks.of(services.repo)
    found = services.together([_reader(records, digest) for digest in digests])
    return sorted({name for names in found for name in names or ()})


def _reader(records: RegisteredTasks, digest: str) -> Callable[[], list[str] | None]:
    return lambda: records.read(digest)


def _form(request: Request, typed: Mapping[str, str], error: Exception | None = None) -> Response:
    services = services_of(request)
    context: dict[str, Any] = {
        "tasks": tasks_of(services),
        "queues": list(services.settings.queue_names),
        "typed": {name: typed.get(name, "") for name in ("task", "args", "kwargs", "queue", "delay", "key")},
        "error": _words(error),
    }
    return render(request, "submit.html", context, status=400 if error else 200)


def _edit_form(request: Request, job_id: str, typed: Mapping[str, str], error: Exception | None = None) -> Response:
    services = services_of(request)
    job, seen = queries.read(services, job_id)
    shown = services.shown(job)
    text = json.dumps(json.loads(codec.encode(shown.payload)), indent=2, ensure_ascii=False)
    context: dict[str, Any] = {
        "job": seen.record,
        "typed": {"payload": text, "key": "", "reason": "", "resolve": "", **typed},
        "hidden": shown.payload != job.payload,
        "error": _words(error) or ("" if not job.status.is_open else f"It is {job.status}: cancel it first."),
    }
    return render(request, "job_edit.html", context, status=400 if error else 200)


def _words(error: Exception | None) -> str:
    if isinstance(error, ImportError):
        return (
            f"The task modules cannot be imported here ({error}): run the dashboard where they can, with "
            "JOBCLAIM_TASK_MODULES, or submit from the command line."
        )
    return "" if error is None else str(error)


def _to(request: Request, job: Job, action: str) -> Response:
    return RedirectResponse(link(request, "job", {"id": job.job_id, "asked": action}), status_code=303)


def _budget(_: Settings) -> Budget:
    return fleet.BUDGET + Budget(SETS, SETS * HEAVIEST)


def _with_form(settings: Settings) -> Budget:
    """Return the budget of an act whose form may be shown again."""
    own = queries.budget(settings)
    return _budget(settings) + own + Budget(20)


ROUTES: Final[list[BaseRoute]] = [
    page("/submit", show, name="submit", budget=_budget),
    form("/submit/start", start, name="submit_start", budget=_with_form),
    page("/job/edit", show_edit, name="job_edit", budget=queries.budget),
    form("/job/edit/start", start_edit, name="job_edit_start", budget=_with_form),
]
