"""Answers of `/api/v1`: each reads or acts, and returns the record."""

from __future__ import annotations

from typing import Any, Final

from jobclaim.dashboard import acts, pausing
from jobclaim.dashboard.meter import Meter, current
from jobclaim.dashboard.person import Person
from jobclaim.dashboard.queries import audit, dead, fleet, job, jobs, queues
from jobclaim.dashboard.queries.job_query import JobQuery
from jobclaim.dashboard.queries.queues import QueueView
from jobclaim.dashboard.services import Services
from jobclaim.views.humane import iso
from jobclaim.views.pauses import pause_record
from jobclaim.views.records import audit_record, job_record, worker_record

SHOWN: Final = frozenset({"remark"})
"""Fields of a page's row that are not part of the record."""


def _meter() -> Meter:
    meter = current()
    assert meter is not None
    return meter


def list_jobs(services: Services, params: Any, _: Person) -> dict[str, Any]:
    """Return one page of jobs."""
    query = JobQuery.of(params, services.settings)
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


def show_job(services: Services, params: Any, _: Person) -> dict[str, Any]:
    """Return one job."""
    return job.read(services, params.get("id", ""))[1].record


def list_groups(services: Services, params: Any, _: Person) -> dict[str, Any]:
    """Return groups of dead letters."""
    query = dead.DeadQuery.of(params)
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


def list_audit(services: Services, params: Any, __: Person) -> dict[str, Any]:
    """Return the audit trail, newest first."""
    query = audit.AuditQuery.of(params)
    found = services.shared.get(("audit", query), lambda: audit.read(services, query))
    items = [audit_record(entry) for entry in found.entries]
    return {"items": items, "cursor": audit.cursor_of(found), "looked_at": found.looked_at}


def act(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Retry, cancel, resolve or abandon a job."""
    job_id = fields.get("id", "")
    result = acts.act_on_job(services, fields.get("verb", ""), job_id, person, fields.get("reason", ""))
    after = services.shown(services.repo.get_job(job_id))
    return {"state": result.state, "text": result.text, "job": job_record(after, payload=True)}


def resume(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Deliver the value that a job waits for."""
    result = acts.resume(services, fields.get("id", ""), fields.get("name", ""), fields.get("payload", ""), person)
    return {"state": result.state, "text": result.text}


def drain(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Request a worker to stop."""
    result = acts.drain(services, fields.get("id", ""), person, fields.get("reason", ""))
    return {"state": result.state, "text": result.text}


def list_pauses(services: Services, _: Any, __: Person) -> dict[str, Any]:
    """Return the pauses that hold, oldest first."""
    now = services.clock()
    return {"items": [pause_record(one, now) for one in fleet.read(services).pauses.active(now)]}


def pause(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Pause a queue, a task or a schedule."""
    kind, name, reason = (fields.get(field, "") for field in ("kind", "name", "reason"))
    result = pausing.pause(services, kind, name, person, reason, fields.get("lasts", ""))
    return {"state": result.state, "text": result.text}


def unpause(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """End a pause."""
    kind, name, reason = (fields.get(field, "") for field in ("kind", "name", "reason"))
    result = pausing.unpause(services, kind, name, person, reason)
    return {"state": result.state, "text": result.text}


def run_schedule(services: Services, fields: Any, person: Person) -> dict[str, Any]:
    """Run a schedule now."""
    job_id, result = pausing.run_schedule(services, fields.get("id", ""), person, fields.get("reason", ""))
    return {"state": result.state, "text": result.text, "job_id": job_id}


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
