"""One run: servers behind proxies, processes, submitters and monkey; then the drain, the evidence and the verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from jobclaim.governance.reconcile import reconcile
from jobclaim.infra import resolve_queue_urls
from jobclaim.jobs import Job, JobRepo, JobStatus
from jobclaim.settings import QueueSpec
from jobclaim.workers import create_app
from tests.chaos import evidence as records
from tests.chaos import weather
from tests.chaos.busy import Busy
from tests.chaos.crew import Crew
from tests.chaos.monkey import Monkey
from tests.chaos.plan import Kind, Plan, Scale
from tests.chaos.report import Figures
from tests.chaos.submitters import Submitters
from tests.chaos.verdict import Evidence, Promise
from tests.support.endpoints import Endpoint
from tests.support.faults import ANSWER_LOST, ASTRAY, COPIED, FaultyProxy, faulty
from tests.support.stack import Stack, deployed

SUBMIT_LATE_SECONDS: Final = 120.0
"""How long after their time calls may still be accepted: outages hold submitters up too."""
LOOK_SECONDS: Final = 1.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a run takes place on.

    Attributes
    ----------
    direct : JobRepo
        Leads past the proxy, as does ``sqs``.
    """

    stack: Stack
    table: FaultyProxy
    queue: FaultyProxy
    direct: JobRepo
    sqs: Any


@contextmanager
def staged(dynamodb: Endpoint, sqs: Endpoint, folder: Path, scale: Scale) -> Iterator[Stage]:
    """Deploy behind two proxies, with limits that fit the scale."""
    with (
        faulty(dynamodb) as (table, to_table),
        faulty(sqs) as (queue, to_queue),
        deployed(to_table, to_queue, folder, **_limits(scale), run_dir=str(folder)) as stack,
    ):
        client = sqs.client()
        queue.limbo = client.create_queue(QueueName=f"{stack.settings.queue_prefix}limbo")["QueueUrl"]
        urls = {name: _through(url, queue) for name, url in resolve_queue_urls(stack.settings).items()}
        stack.environment["JOBCLAIM_QUEUE_URLS"] = json.dumps(urls)
        past = {"dynamodb_endpoint_url": dynamodb.endpoint_url, "sqs_endpoint_url": sqs.endpoint_url}
        direct = JobRepo.from_settings(stack.settings.model_copy(update=past))
        yield Stage(stack, table, queue, direct, client)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who acts in a run."""

    crew: Crew
    monkey: Monkey
    submitters: Submitters


def run(stage: Stage, plan: Plan, seconds: float, scale: Scale, say: Say) -> tuple[Evidence, Figures]:
    """Carry a plan out, and give what is to be judged."""
    cast = _cast(stage, plan, scale)
    cast.submitters.start()
    cast.monkey.run(plan.strikes, seconds, _progress(say, cast, seconds), Event())
    calm = time.monotonic()
    say("faults are over, draining")
    accepted = cast.submitters.join(SUBMIT_LATE_SECONDS)
    unfinished = [] if accepted else [*cast.submitters.broken, "submitters did not come to their end"]
    drain(stage.direct, cast.submitters.promises, scale.drain, cast.crew.replace_the_dead)
    drained_in = time.monotonic() - calm
    cast.crew.stop_all()
    return _evidence(stage, cast, plan.jobs, unfinished), _figures(stage, cast, plan.seed, seconds / 60, drained_in)


def _cast(stage: Stage, plan: Plan, scale: Scale) -> Cast:
    """Start the processes in calm, then put the weather over the services."""
    crew = Crew(stage.stack, scale)
    app = create_app(stage.stack.settings)
    app.loader.import_default_modules()
    crew.start_all()
    skies = (
        weather.Weather(plan.seed, weather.of([ANSWER_LOST])),
        weather.Weather(~plan.seed, weather.of([COPIED, ASTRAY, ANSWER_LOST])),
    )
    stage.table.weather, stage.queue.weather = skies
    monkey = Monkey(crew, stage.table, stage.queue, skies, Busy(stage.direct, stage.stack.evidence))
    return Cast(crew, monkey, Submitters(app, plan.calls, f"c{plan.seed}"))


def drain(repo: JobRepo, promises: Sequence[Promise], timeout: float, each_look: Callable[[], object]) -> bool:
    """Wait until all jobs have ended and none is to be started again; ``False`` where they do not in time."""
    left, ended = {promise.job_id: promise for promise in promises}, dict[str, Job]()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = repo.table.get_many(sorted(left), consistent=True)
        ended |= {job_id: job for job_id, job in found.items() if not (job.status.is_open or job.retry_at)}
        left = {
            job_id: promise
            for job_id, promise in left.items()
            if job_id not in ended and (job_id in found or not _failed(ended.get(promise.after)))
        }
        if not left and not any(repo.list_jobs(status, limit=1).jobs for status in JobStatus if status.is_open):
            return True  # what tells a chain of its failure is a job too, which nobody was promised
        each_look()
        time.sleep(LOOK_SECONDS)
    return False


def _failed(job: Job | None) -> bool:
    return job is not None and job.status is JobStatus.FAILED


def _evidence(stage: Stage, cast: Cast, planned: int, unfinished: Sequence[str]) -> Evidence:
    findings, looked = reconcile(stage.direct, stage.sqs, stage.direct.settings)
    promises = list(cast.submitters.promises)
    return Evidence(
        planned=planned,
        promises=promises,
        jobs=stage.direct.table.get_many([promise.job_id for promise in promises], consistent=True),
        starts=records.starts(stage.stack.evidence),
        unfinished=unfinished,
        died=cast.crew.died,
        findings=[f"{found.check}: {found.subject} {found.problem}" for found in findings],
        left_open=looked.jobs,
        processes=len(cast.crew.members),
        struck={str(kind): cast.monkey.struck[kind] for kind in Kind},
    )


def _figures(stage: Stage, cast: Cast, seed: int, minutes: float, drained_in: float) -> Figures:
    told = records.told(member.process.log_path for member in cast.crew.members)
    return Figures(
        seed,
        minutes,
        drained_in,
        missed=cast.monkey.missed.total(),
        hits=_named(stage.table.failed, stage.queue.failed),
        told=told | {"calls refused and made again": cast.submitters.refused},
        requests=_named(stage.table.requests, stage.queue.requests),
    )


def _limits(scale: Scale) -> dict[str, Any]:
    soft, hard = scale.hard_limit - 1, scale.hard_limit
    return {
        "queues": (
            QueueSpec(name="default", soft_limit=soft, hard_limit=hard, sla_seconds=1, max_receive_count=50),
            QueueSpec(name="recovery", priority=10, soft_limit=20, hard_limit=25, sla_seconds=1, max_receive_count=50),
        ),
        "task_modules": ("tests.chaos.tasks",),
        "lease_grace_seconds": scale.grace,
        "stop_timeout_seconds": 8,
        "visibility_slack_seconds": 2,
        "heartbeat_seconds": scale.heartbeat,
        "worker_dead_after_seconds": scale.dead_after,
        "recovery_interval_seconds": 2,
        "redispatch_min_seconds": scale.redispatch,
        "read_timeout_seconds": 2.0,
        "connect_timeout_seconds": 1.0,
        "max_attempts": 6,
        "dead_letters": {"TRANSIENT": {"retries": 0}},  # a failure that is not the body's own must not be mended unseen
    }


def _through(url: str, proxy: FaultyProxy) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{proxy.port}"))


def _progress(say: Say, cast: Cast, seconds: float) -> Callable[[float], None]:
    told = [0.0]

    def tell(now: float) -> None:
        if now - told[0] >= 30:
            told[0] = now
            accepted, strikes = len(cast.submitters.promises), cast.monkey.struck.total()
            say(f"{now:.0f} of {seconds:.0f} s: {accepted:,} accepted, {strikes} strikes")

    return tell


def _named(table: Counter[str], queue: Counter[str]) -> dict[str, int]:
    return {f"DynamoDB {name}": count for name, count in table.items()} | {
        f"SQS {name}": count for name, count in queue.items()
    }
