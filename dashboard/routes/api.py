"""`/api/v1`: the pages' data for programs, in the records of `-o json`; described in ``docs/openapi.json``."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from jobclaim.dashboard import acts, pausing
from jobclaim.dashboard.forms import refuse_unknown_names
from jobclaim.dashboard.meter import Budget, Meter, current
from jobclaim.dashboard.openapi import Call, Parameter, listing, reference
from jobclaim.dashboard.pages import METER_KEY, VisibleJSON, form, page, services_of
from jobclaim.dashboard.person import Person, person_of
from jobclaim.dashboard.queries import audit, dead, fleet, job, jobs, queues
from jobclaim.dashboard.queries.queues import QueueView
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.routes import actions, task_calls
from jobclaim.dashboard.services import Services
from jobclaim.jobs import FailureKind, JobStatus
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.repo.keeping import MAX_NAME
from jobclaim.views.humane import iso
from jobclaim.views.pauses import pause_record
from jobclaim.views.records import audit_record, job_record, worker_record
from jobclaim.views.schemas import BOOLEAN, COUNT, INTEGER, STRING, many, maybe, one_of, record

STATES: Final = one_of(JobStatus)
SHOWN: Final = frozenset({"remark"})
"""Fields of a page's row that are not part of the record."""


def _meter() -> Meter:
    meter = current()
    assert meter is not None
    return meter


def list_jobs(services: Services, asked: Any, _: Person) -> dict[str, Any]:
    """Return one page of jobs."""
    query = jobs.JobQuery.of(asked, services.settings)
    meter = _meter()
    listed = services.shared.get(("jobs", query), lambda: jobs.read(services, query, meter))
    return {
        "items": [{name: value for name, value in row.items() if name not in SHOWN} for row in listed.rows],
        "cursor": listed.found.cursor,
        "looked_at": listed.found.looked_at,
        "looked_from": listed.found.span and iso(listed.found.span[0]),
        "looked_to": listed.found.span and iso(listed.found.span[1]),
        "notes": listed.notes,
    }


def show_job(services: Services, asked: Any, _: Person) -> dict[str, Any]:
    """Return one job."""
    return job.read(services, asked.get("id", ""))[1].record


def list_groups(services: Services, asked: Any, _: Person) -> dict[str, Any]:
    """Return groups of dead letters."""
    query = dead.DeadQuery.of(asked)
    meter = _meter()
    groups = services.shared.get(("dead", query), lambda: dead.read(services, query, meter))
    return {"items": groups.rows, "cursor": groups.found.cursor, "looked_at": groups.found.looked_at}


def list_queues(services: Services, _: Any, __: Person) -> dict[str, Any]:
    """Return all queues."""
    return {"items": [_queue(queue) for queue in queues.read(services, _meter()).queues]}


def list_workers(services: Services, _: Any, __: Person) -> dict[str, Any]:
    """Return the fleet."""
    now, after = services.clock(), services.settings.worker_dead_after_seconds
    seen = fleet.read(services)
    return {"items": [worker_record(worker, now, after) for worker in seen.workers], "more": seen.more}


def list_audit(services: Services, asked: Any, __: Person) -> dict[str, Any]:
    """Return the audit trail, newest first."""
    query = audit.AuditQuery.of(asked)
    found = services.shared.get(("audit", query), lambda: audit.read(services, query))
    items = [audit_record(entry) for entry in found.entries]
    return {"items": items, "cursor": audit.cursor_of(found), "looked_at": found.looked_at}


def act(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Retry, cancel, resolve or abandon a job."""
    job_id = fields.get("id", "")
    done = acts.act_on_job(services, fields.get("verb", ""), job_id, person, fields.get("reason", ""))
    after = services.shown(services.repo.get_job(job_id))
    return {"state": done.state, "text": done.text, "job": job_record(after, payload=True)}


def resume(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Deliver the value that a job waits for."""
    done = acts.resume(services, fields.get("id", ""), fields.get("name", ""), fields.get("payload", ""), person)
    return {"state": done.state, "text": done.text}


def drain(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Request a worker to stop."""
    done = acts.drain(services, fields.get("id", ""), person, fields.get("reason", ""))
    return {"state": done.state, "text": done.text}


def list_pauses(services: Services, _: Any, __: Person) -> dict[str, Any]:
    """Return the pauses that hold, oldest first."""
    now = services.clock()
    return {"items": [pause_record(one, now) for one in fleet.read(services).pauses.active(now)]}


def pause(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Pause a queue, a task or a schedule."""
    kind, name, reason = (fields.get(field, "") for field in ("kind", "name", "reason"))
    done = pausing.pause(services, kind, name, person, reason, fields.get("lasts", ""))
    return {"state": done.state, "text": done.text}


def unpause(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """End a pause."""
    kind, name, reason = (fields.get(field, "") for field in ("kind", "name", "reason"))
    done = pausing.unpause(services, kind, name, person, reason)
    return {"state": done.state, "text": done.text}


def run_schedule(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Run a schedule now."""
    job_id, done = pausing.run_schedule(services, fields.get("id", ""), person, fields.get("reason", ""))
    return {"state": done.state, "text": done.text, "job_id": job_id}


def _queue(queue: QueueView) -> dict[str, Any]:
    depth = queue.depth
    return {
        "queue": queue.name,
        "priority": queue.priority,
        "sla_seconds": queue.sla_seconds,
        "visible": depth.visible,
        "in_flight": depth.in_flight,
        "delayed": depth.delayed,
        "dead_letters": depth.dead_letters,
        "waiting": queue.waiting,
        "running": queue.running,
        "later": queue.later,
        "more": queue.more,
        "oldest_waiting_seconds": round(queue.oldest_ms / 1000, 3),
        "sla_burn": round(queue.oldest_ms / 1000 / queue.sla_seconds, 3),
    }


def _text(name: str, says: str, **more: Any) -> Parameter:
    return Parameter(name=name, says=says, schema={**STRING, "maxLength": jobs.LONGEST}, **more)


CURSOR: Final = Parameter(name="cursor", says="Continues the list behind an earlier answer.", schema=STRING)
KIND: Final = Parameter(name="kind", says="Kind of the failure.", schema=one_of(FailureKind))
STATE: Final = Parameter(
    name="state", says="What is decided about the dead letters; default WAITING.", schema=one_of(dead.STATES)
)
ID: Final = _text("id", "Id of the job.", required=True)
REASON: Final = Parameter(name="reason", says="Kept in the audit trail.", schema={**STRING, "maxLength": 200})
PAUSED: Final = Parameter(name="kind", says="What is paused.", schema=one_of(pausing.KINDS), required=True)
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
            Parameter(name="status", says="May be repeated; default PROCESSING and PENDING.", schema=many(STATES)),
            Parameter(name="queue", says="May be repeated.", schema=many(STRING)),
            _text("task", "Name of the task; * stands for anything."),
            _text("id", "Id of the job; * stands for anything."),
            _text("worker", "Worker that claimed it."),
            _text("idempotency_key", "Its idempotency key; * stands for anything."),
            Parameter(name="tag", says="Has this tag; may be repeated.", schema=many(STRING)),
            _text("argument", "Text in its arguments, as they are shown; case does not matter."),
            _text("error", "Text in the exception, message or place of a failure; case does not matter."),
            KIND,
            _text("exception", "Type of the exception; its last name is enough."),
            _text("fingerprint", "Same kind, exception and place."),
            Parameter(name="state", says="Dead state of a failed job.", schema=one_of(DeadState)),
            _text("since", "Submitted since then: 10m, 2h ago, yesterday, 14:30, 2030-01-31; UTC."),
            _text("after", "Submitted since then, as since."),
            _text("before", "Submitted until then, as since."),
            Parameter(name="order", says="By due time, or time of its end.", schema=one_of(("oldest", "newest"))),
            Parameter(
                name="limit",
                says="Jobs of one answer.",
                schema={**INTEGER, "minimum": 1, "maximum": jobs.MOST_PER_PAGE, "default": jobs.PER_PAGE},
            ),
            CURSOR,
        ),
        answer=listing("Job", cursor=maybe(STRING), notes=many(STRING), **LOOKED),
        handler=list_jobs,
        budget=jobs.budget,
    ),
    Call(
        path="/job",
        method="GET",
        name="showJob",
        summary="Show one job.",
        parameters=(ID,),
        answer=reference("Job"),
        handler=show_job,
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
            Parameter(name="until", says="Failed until then, epoch milliseconds.", schema=COUNT),
            CURSOR,
        ),
        answer=listing("Group", cursor=maybe(STRING), looked_at=COUNT),
        handler=list_groups,
        budget=dead.budget,
    ),
    Call(
        path="/queues",
        method="GET",
        name="listQueues",
        summary="Show every queue: depth, the oldest that waits, its share of the SLA.",
        answer=listing("Queue"),
        handler=list_queues,
        budget=queues.budget,
    ),
    Call(
        path="/workers",
        method="GET",
        name="listWorkers",
        summary="Show the fleet.",
        answer=listing("Worker", more=BOOLEAN),
        handler=list_workers,
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
        handler=list_audit,
        budget=lambda _: audit.BUDGET,
    ),
    Call(
        path="/act",
        method="POST",
        name="act",
        summary="Retry, cancel, resolve or abandon a job. Needs an operator.",
        parameters=(
            Parameter(name="verb", says="What to do.", schema=one_of(acts.JOB_VERBS), required=True),
            ID,
            REASON,
        ),
        answer=record({**DONE, "job": reference("Job")}, "What has become of it, and the job as it is then."),
        handler=act,
        budget=lambda _: Budget(actions.BUDGET.requests + 1, actions.BUDGET.read_units + 2 * HEAVIEST),
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
            Parameter(name="name", says="What it waits for.", schema={**STRING, "maxLength": MAX_NAME}, required=True),
            Parameter(name="payload", says="What its body gets, as JSON text; default null.", schema=STRING),
        ),
        answer=record(DONE, "What has become of it."),
        handler=resume,
        budget=lambda _: actions.BUDGET,
        refusals=(404, 409),
    ),
    Call(
        path="/drain",
        method="POST",
        name="drain",
        summary="Ask a worker to stop as on SIGTERM. Needs an operator.",
        parameters=(_text("id", "Id of the worker.", required=True), REASON),
        answer=record(DONE, "What has become of it."),
        handler=drain,
        budget=lambda _: actions.BUDGET,
    ),
    Call(
        path="/pauses",
        method="GET",
        name="listPauses",
        summary="What is paused: queues, tasks and schedules.",
        answer=listing("Pause"),
        handler=list_pauses,
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
            Parameter(name="reason", says="Why.", schema={**STRING, "maxLength": 200}, required=True),
            Parameter(name="lasts", says="How long: 30m, 2h, 1d; default: until it is unpaused.", schema=STRING),
        ),
        answer=record(DONE, "What has become of it."),
        handler=pause,
        budget=lambda _: actions.BUDGET,
        refusals=(409,),
    ),
    Call(
        path="/unpause",
        method="POST",
        name="unpause",
        summary="End a pause. Needs an operator.",
        parameters=(PAUSED, PAUSED_NAME, REASON),
        answer=record(DONE, "What has become of it."),
        handler=unpause,
        budget=lambda _: actions.BUDGET,
        refusals=(409,),
    ),
    Call(
        path="/schedule/run",
        method="POST",
        name="runSchedule",
        summary="Run a schedule of the settings now, beside its regular ticks. Needs an operator.",
        parameters=(_text("id", "Name of the schedule.", required=True), REASON),
        answer=record({**DONE, "job_id": STRING}, "What has become of it, and the id of the job."),
        handler=run_schedule,
        budget=lambda _: actions.BUDGET,
    ),
)


def _route(call: Call) -> BaseRoute:
    def answer(request: Request, asked: Any) -> Response:
        refuse_unknown_names(asked, (parameter.name for parameter in call.parameters))
        made = call.handler(services_of(request), asked, person_of(request))
        return VisibleJSON(made, headers={"X-Jobclaim-Cost": request.scope[METER_KEY].words()})

    path, name = f"/api/v1{call.path}", f"api_{call.name}"
    if call.method == "POST":
        return form(path, answer, name=name, budget=call.budget)
    return page(path, lambda request: answer(request, request.query_params), name=name, budget=call.budget)


ROUTES: Final[list[BaseRoute]] = [_route(call) for call in CALLS]
