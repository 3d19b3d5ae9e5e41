"""One run: servers behind proxies, processes, submitters and monkey; then the drain, the evidence and the verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from governance.reconcile import reconcile
from infra import resolve_queue_urls
from jobs import Job, JobRepo
from settings import QueueSpec
from tests.chaos import evidence as records
from tests.chaos import weather
from tests.chaos.busy import Busy
from tests.chaos.crew import Crew
from tests.chaos.monkey import Monkey
from tests.chaos.plan import Kind, Plan, Scale
from tests.chaos.report import Figures
from tests.chaos.submitters import Submitters
from tests.chaos.verdict import Evidence
from tests.support.endpoints import Endpoint
from tests.support.faults import ANSWER_LOST, ASTRAY, COPIED, FaultyProxy, faulty
from tests.support.stack import Stack, deployed
from workers import create_app

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


def run(stage: Stage, plan: Plan, seconds: float, scale: Scale, say: Say) -> tuple[Evidence, Figures]:
    """Carry a plan out, and give what is to be judged."""
    stack = stage.stack
    crew = Crew(stack, scale)
    app = create_app(stack.settings)
    app.loader.import_default_modules()
    crew.start_all()
    skies = (
        weather.Weather(plan.seed, weather.of([ANSWER_LOST])),
        weather.Weather(~plan.seed, weather.of([COPIED, ASTRAY, ANSWER_LOST])),
    )
    stage.table.weather, stage.queue.weather = skies
    monkey = Monkey(crew, stage.table, stage.queue, skies, Busy(stage.direct, stack.evidence))
    submitters = Submitters(app, plan.calls, f"c{plan.seed}")
    submitters.start()
    monkey.run(plan.strikes, seconds, _progress(say, submitters, monkey, seconds), Event())
    calm = time.monotonic()
    say("faults are over, draining")
    accepted = submitters.join(SUBMIT_LATE_SECONDS)
    unfinished = [] if accepted else [*submitters.broken, "submitters did not come to their end"]
    drain(stage.direct, [promise.job_id for promise in submitters.promises], scale.drain, crew.replace_the_dead)
    drained_in = time.monotonic() - calm
    crew.stop_all()
    findings, looked = reconcile(stage.direct, stage.sqs, stage.direct.settings)
    jobs = stage.direct.table.get_many([promise.job_id for promise in submitters.promises], consistent=True)
    evidence = Evidence(
        planned=plan.jobs,
        promises=list(submitters.promises),
        jobs=jobs,
        starts=records.starts(stack.evidence),
        unfinished=unfinished,
        died=crew.died,
        findings=[f"{found.check}: {found.subject} {found.problem}" for found in findings],
        left_open=looked.jobs,
        processes=len(crew.members),
        struck={str(kind): monkey.struck[kind] for kind in Kind},
    )
    logs = [member.process.log_path for member in crew.members]
    return evidence, Figures(
        plan.seed,
        seconds / 60,
        drained_in,
        submitters.refused,
        missed=monkey.missed.total(),
        hits=_named(stage.table.failed, stage.queue.failed),
        told=records.told(logs) | {"calls refused and made again": submitters.refused},
        requests=_named(stage.table.requests, stage.queue.requests),
    )


def drain(repo: JobRepo, job_ids: list[str], timeout: float, each_look: Callable[[], object]) -> bool:
    """Wait until all jobs have ended and none is to be started again; ``False`` where they do not in time."""
    left, deadline = set(job_ids), time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        found = repo.table.get_many(sorted(left), consistent=True)
        left = {job_id for job_id in left if not _is_over(found.get(job_id))}
        each_look()
        time.sleep(LOOK_SECONDS)
    return not left


def _is_over(job: Job | None) -> bool:
    return job is not None and not job.status.is_open and not job.retry_at


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


def _progress(say: Say, submitters: Submitters, monkey: Monkey, seconds: float) -> Callable[[float], None]:
    told = [0.0]

    def tell(now: float) -> None:
        if now - told[0] >= 30:
            told[0] = now
            say(f"{now:.0f} of {seconds:.0f} s: {len(submitters.promises):,} accepted, {monkey.struck.total()} strikes")

    return tell


def _named(table: Counter[str], queue: Counter[str]) -> dict[str, int]:
    return {f"DynamoDB {name}": count for name, count in table.items()} | {
        f"SQS {name}": count for name, count in queue.items()
    }
