"""`/api/v1`: the pages' data for programs, in the records of `-o json`; described in ``docs/openapi.json``."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard import acts, pausing
from jobclaim.dashboard.forms import refuse_unknown_names
from jobclaim.dashboard.meter import Budget
from jobclaim.dashboard.openapi import Call, Parameter, listing, reference
from jobclaim.dashboard.pages import METER_KEY, VisibleJSON, form, page, services_of
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.queries import audit, dead, fleet, job, jobs, queues
from jobclaim.dashboard.queries.job_query import LONGEST, MOST_PER_PAGE, PER_PAGE
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.routes import actions, task_calls
from jobclaim.dashboard.routes import api_answers as answers
from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.repo.keeping import MAX_NAME
from jobclaim.views.schemas import BOOLEAN, COUNT, INTEGER, STRING, many, maybe, one_of, record

STATES: Final = one_of(JobStatus)


def _text(name: str, description: str, **more: Any) -> Parameter:
    return Parameter(name=name, description=description, schema={**STRING, "maxLength": LONGEST}, **more)


CURSOR: Final = Parameter(
    name="cursor", description="Cursor of an earlier response, after which the list continues.", schema=STRING
)
KIND: Final = Parameter(name="kind", description="Kind of the failure.", schema=one_of(FailureKind))
STATE: Final = Parameter(
    name="state", description="State of the dead letters; default WAITING.", schema=one_of(dead.STATES)
)
ID: Final = _text("id", "Id of the job.", required=True)
REASON: Final = Parameter(name="reason", description="Kept in the audit trail.", schema={**STRING, "maxLength": 200})
PAUSED: Final = Parameter(name="kind", description="What is paused.", schema=one_of(pausing.KINDS), required=True)
PAUSED_NAME: Final = _text("name", "Its name.", required=True)
LOOKED: Final = {"looked_at": COUNT, "looked_from": maybe(STRING), "looked_to": maybe(STRING)}
DONE: Final = {"state": one_of(("requested", "done")), "text": STRING}
CALLS: Final = (
    Call(
        path="/jobs",
        method="GET",
        name="listJobs",
        summary="List jobs, a page at a time: never a count, never a scan.",
        parameters=(
            Parameter(
                name="status", description="May be repeated; default PROCESSING and PENDING.", schema=many(STATES)
            ),
            Parameter(name="queue", description="May be repeated.", schema=many(STRING)),
            _text("task", "Name of the task; * stands for anything."),
            _text("id", "Id of the job; * stands for anything."),
            _text("worker", "Worker that claimed it."),
            _text("idempotency_key", "Its idempotency key; * stands for anything."),
            Parameter(name="tag", description="Has this tag; may be repeated.", schema=many(STRING)),
            _text("argument", "Text in its arguments, as they are shown; case does not matter."),
            _text("error", "Text in the exception, message or place of a failure; case does not matter."),
            KIND,
            _text("exception", "Type of the exception; its last name is enough."),
            _text("fingerprint", "Same kind, exception and place."),
            Parameter(name="state", description="Dead state of a failed job.", schema=one_of(DeadState)),
            _text("since", "Submitted since then: 10m, 2h ago, yesterday, 14:30, 2030-01-31; UTC."),
            _text("after", "Submitted since then, as since."),
            _text("before", "Submitted until then, as since."),
            Parameter(
                name="order", description="By due time, or time of its end.", schema=one_of(("oldest", "newest"))
            ),
            Parameter(
                name="limit",
                description="Jobs of one answer.",
                schema={**INTEGER, "minimum": 1, "maximum": MOST_PER_PAGE, "default": PER_PAGE},
            ),
            CURSOR,
        ),
        answer=listing("Job", cursor=maybe(STRING), notes=many(STRING), **LOOKED),
        handler=answers.list_jobs,
        budget=jobs.budget,
    ),
    Call(
        path="/job",
        method="GET",
        name="showJob",
        summary="Show one job.",
        parameters=(ID,),
        answer=reference("Job"),
        handler=answers.show_job,
        budget=job.budget,
        refusals=(404,),
    ),
    Call(
        path="/dead",
        method="GET",
        name="listDeadLetters",
        summary="Group the newest dead letters by fingerprint.",
        parameters=(
            STATE,
            _text("task", "Name of the task."),
            _text("queue", "Name of the queue."),
            KIND,
            _text("exception", "Type of the exception; its last name is enough."),
            _text("fingerprint", "Same kind, exception and place."),
            Parameter(name="until", description="Failed until then, epoch milliseconds.", schema=COUNT),
            CURSOR,
        ),
        answer=listing("Group", cursor=maybe(STRING), looked_at=COUNT),
        handler=answers.list_groups,
        budget=dead.budget,
    ),
    Call(
        path="/queues",
        method="GET",
        name="listQueues",
        summary="Show every queue: depth, the oldest that waits, its share of the SLA.",
        answer=listing("Queue"),
        handler=answers.list_queues,
        budget=queues.budget,
    ),
    Call(
        path="/workers",
        method="GET",
        name="listWorkers",
        summary="Show the fleet.",
        answer=listing("Worker", more=BOOLEAN),
        handler=answers.list_workers,
        budget=lambda _: fleet.BUDGET,
    ),
    *task_calls.CALLS,
    Call(
        path="/audit",
        method="GET",
        name="listAudit",
        summary="Show who did what, the newest first.",
        parameters=(
            _text("who", "Part of the name, or of the AWS identity."),
            _text("verb", "What was done, for example retry."),
            _text("what", "Part of what it was done to, for example a job id."),
            _text("since", "How far back, for example 2h or 7d."),
            CURSOR,
        ),
        answer=listing("Audit", cursor=maybe(STRING), looked_at=COUNT),
        handler=answers.list_audit,
        budget=lambda _: audit.BUDGET,
    ),
    Call(
        path="/act",
        method="POST",
        name="act",
        summary="Retry, cancel, resolve or abandon a job. Needs an operator.",
        parameters=(
            Parameter(name="verb", description="What to do.", schema=one_of(acts.JOB_VERBS), required=True),
            ID,
            REASON,
        ),
        answer=record({**DONE, "job": reference("Job")}, "The result of the action, and the job after it."),
        handler=answers.act,
        budget=lambda _: actions.BUDGET + Budget(1, 2 * HEAVIEST),
        refusals=(404, 409),
    ),
    Call(
        path="/resume",
        method="POST",
        name="resume",
        summary="Give a job what it waits for, and start it again. Needs an operator, or the wait's own token in the "
        "header X-Jobclaim-Wait-Token: then no sign-in.",
        parameters=(
            ID,
            Parameter(
                name="name", description="What it waits for.", schema={**STRING, "maxLength": MAX_NAME}, required=True
            ),
            Parameter(name="payload", description="Payload for the body, as JSON text; default null.", schema=STRING),
        ),
        answer=record(DONE, "The result of the action."),
        handler=answers.resume,
        budget=lambda _: actions.BUDGET,
        refusals=(404, 409),
    ),
    Call(
        path="/drain",
        method="POST",
        name="drain",
        summary="Ask a worker to stop as on SIGTERM. Needs an operator.",
        parameters=(_text("id", "Id of the worker.", required=True), REASON),
        answer=record(DONE, "The result of the action."),
        handler=answers.drain,
        budget=lambda _: actions.BUDGET,
    ),
    Call(
        path="/pauses",
        method="GET",
        name="listPauses",
        summary="What is paused: queues, tasks and schedules.",
        answer=listing("Pause"),
        handler=answers.list_pauses,
        budget=lambda _: fleet.BUDGET,
    ),
    Call(
        path="/pause",
        method="POST",
        name="pause",
        summary="Pause a queue, a task or a schedule. Needs an operator.",
        parameters=(
            PAUSED,
            PAUSED_NAME,
            Parameter(name="reason", description="Why.", schema={**STRING, "maxLength": 200}, required=True),
            Parameter(name="lasts", description="How long: 30m, 2h, 1d; default: until it is unpaused.", schema=STRING),
        ),
        answer=record(DONE, "The result of the action."),
        handler=answers.pause,
        budget=lambda _: actions.BUDGET,
        refusals=(409,),
    ),
    Call(
        path="/unpause",
        method="POST",
        name="unpause",
        summary="End a pause. Needs an operator.",
        parameters=(PAUSED, PAUSED_NAME, REASON),
        answer=record(DONE, "The result of the action."),
        handler=answers.unpause,
        budget=lambda _: actions.BUDGET,
        refusals=(409,),
    ),
    Call(
        path="/schedule/run",
        method="POST",
        name="runSchedule",
        summary="Run a schedule of the settings now, beside its regular ticks. Needs an operator.",
        parameters=(_text("id", "Name of the schedule.", required=True), REASON),
        answer=record({**DONE, "job_id": STRING}, "The result of the action, and the id of the job."),
        handler=answers.run_schedule,
        budget=lambda _: actions.BUDGET,
    ),
)


def _route(call: Call) -> BaseRoute:
    def answer(request: Request, params: Any) -> Response:
        refuse_unknown_names(params, (parameter.name for parameter in call.parameters))
        result = call.handler(services_of(request), params, person_of(request))
        return VisibleJSON(result, headers={"X-Jobclaim-Cost": request.scope[METER_KEY].words()})

    path, name = f"/api/v1{call.path}", f"api_{call.name}"
    if call.method == "POST":
        return form(path, answer, name=name, budget=call.budget)
    return page(path, lambda request: answer(request, request.query_params), name=name, budget=call.budget)


ROUTES: Final[list[BaseRoute]] = [_route(call) for call in CALLS]
