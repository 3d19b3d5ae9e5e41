"""Answers to `celery inspect` for each worker: from its record and its jobs, in the format of Celery's own answers.

A record is at most a heartbeat old; a job that has started is in it within about a second. It lists jobs, not plain
tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from celery import Celery
from kombu import Queue

from jobclaim.fleet.registered import RegisteredTasks
from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.encoding.codec import plain
from jobclaim.jobs.encoding.marks import is_mark
from jobclaim.workers.messages import call

TOLD_BY_DEFAULT: Final = ("exchange", "routing_key", "rate_limit")
"""Attributes of a registered task that Celery shows by default."""
IN_S3: Final = "(in S3: jobclaim show ID --payload)"


@dataclass(frozen=True)
class Fleet:
    """The live workers, by Celery's names; a worker whose name is not unique is keyed by its id."""

    app: Celery
    nodes: Mapping[str, WorkerRecord]

    @classmethod
    def of(cls, app: Celery) -> Fleet:
        """Read the live workers."""
        repo = app.jobclaim.repo
        living = FleetRecords.of(repo).live(repo.settings.worker_dead_after_seconds)
        names = [record.node for record in living]
        return cls(
            app,
            {
                record.node if record.node and names.count(record.node) == 1 else record.worker_id: record
                for record in living
            },
        )

    def only(self, names: Iterable[str]) -> Fleet:
        """Keep the workers with these names or ids."""
        named = set(names)
        kept = {node: one for node, one in self.nodes.items() if named & {node, one.node, one.worker_id}}
        return Fleet(self.app, kept)

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """The jobs that run on them, by id."""
        ids = [job_id for record in self.nodes.values() for job_id in record.jobs]
        found: dict[str, Job] = self.app.jobclaim.repo.table.get_many(ids)
        return {job_id: job for job_id, job in found.items() if job.status is JobStatus.PROCESSING}

    def running(self, node: str) -> list[dict[str, Any]]:
        """Describe a worker's running jobs, as Celery describes requests."""
        record = self.nodes[node]
        jobs = [self.jobs[job_id] for job_id in record.jobs if job_id in self.jobs]
        return [_request(job, node) for job in jobs if job.worker_id == record.worker_id]


def _request(job: Job, node: str) -> dict[str, Any]:
    args, kwargs = ([IN_S3], {}) if is_mark(job.payload) else call.from_payload(plain(job.payload))
    return {
        "id": job.job_id,
        "name": job.task,
        "args": args,
        "kwargs": kwargs,
        "type": job.task,
        "hostname": node,
        "time_start": job.claimed_at / 1000,
        "acknowledged": True,
        "delivery_info": {"exchange": "", "routing_key": job.queue, "priority": None, "redelivered": False},
        "worker_pid": None,
    }


def ping(*_: Any) -> Any:
    """Answer a ping."""
    return {"ok": "pong"}


def active(fleet: Fleet, node: str, **_: Any) -> Any:
    """Describe the running jobs."""
    return fleet.running(node)


def query_task(fleet: Fleet, node: str, ids: Any = ()) -> Any:
    """Describe those of the given jobs that run on this worker."""
    names = {ids} if isinstance(ids, str) else set(ids)
    return {running["id"]: ["active", running] for running in fleet.running(node) if running["id"] in names}


def registered(fleet: Fleet, node: str, taskinfoitems: Any = None, **_: Any) -> Any:
    """List the worker's tasks; attributes are those of this program's tasks of the same names."""
    record = fleet.nodes[node]
    names = RegisteredTasks.of(fleet.app.jobclaim.repo).read(record.tasks) if record.tasks else None
    if names is None:
        return {
            "error": f"this worker (release {record.version}) has not written the names of its tasks yet; "
            "ask again in a minute"
        }
    items = [item for item in taskinfoitems or TOLD_BY_DEFAULT if not item.startswith("_")]
    return [_registered(fleet.app.tasks.get(name), name, items) for name in names]


def _registered(task: Any, name: str, items: list[str]) -> str:
    described = [f"{item}={value}" for item in items if (value := getattr(task, item, None)) is not None]
    return f"{name} [{' '.join(described)}]" if described else name


def active_queues(fleet: Fleet, node: str) -> Any:
    """Describe the queues that it listens on."""
    known = fleet.app.amqp.queues
    queues = [known.get(name) or Queue(name, routing_key=name) for name in fleet.nodes[node].queues]
    return [dict(queue.as_dict(recurse=True)) for queue in queues]


def revoked(fleet: Fleet, node: str) -> Any:
    """List the jobs that it was asked to cancel and has not ended yet."""
    return sorted(job_id for job_id, command in fleet.nodes[node].commands.items() if command == CANCEL)


def stats(fleet: Fleet, node: str) -> Any:
    """Return the statistics from the worker's record; Celery's other keys are missing, not guessed."""
    record = fleet.nodes[node]
    return {
        "pid": record.pid,
        "uptime": max(0, (fleet.app.jobclaim.repo.clock() - record.started_at) // 1000),
        "pool": {"max-concurrency": record.concurrency},
        "broker": {"transport": "sqs"},
        "jobclaim": {
            "worker_id": record.worker_id,
            "host": record.host,
            "version": record.version,
            "settings": record.digest,
            "queues": list(record.queues),
            "running": len(record.jobs),
            "seen_at_ms": record.seen_at,
            "stopping": record.drain,
        },
    }


def report(fleet: Fleet, node: str) -> Any:
    """Describe the worker as readable text."""
    record = fleet.nodes[node]
    lines = [
        f"software -> jobclaim:{record.version}",
        f"platform -> host:{record.host} pid:{record.pid}",
        f"settings -> digest:{record.digest} queues:{','.join(record.queues)} concurrency:{record.concurrency}",
    ]
    return {"ok": "\n".join(lines)}


ANSWERS: Final[Mapping[str, Callable[..., Any]]] = {
    each.__name__: each for each in (ping, active, query_task, registered, active_queues, revoked, stats, report)
}
"""By Celery's name of the command."""
