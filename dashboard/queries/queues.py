"""The queues: messages in SQS, queue wait of the oldest job, SLA used, and listening workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import fleet, opened
from jobclaim.dashboard.queries.opened import Opened
from jobclaim.dashboard.services import Services
from jobclaim.fleet.breaker import BreakerState
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.failures.aws_errors import trouble_of
from jobclaim.jobs.storage.pauses import Pause, PauseKind
from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.settings import QueueSpec, Settings
from jobclaim.views.humane import span
from jobclaim.views.queue_status import COUNTS

URL_KEPT_MS: Final = 600_000
"""How long a queue's URL is cached."""
AT_RISK: Final = 0.5
"""Share of the SLA from which a queue is at risk."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue in SQS, as it approximates them.

    Attributes
    ----------
    problem : str
        Why the counts are unknown: the queue does not exist, or SQS does not answer; empty if they are known.
    """

    visible: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    dead_letters: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One queue.

    Attributes
    ----------
    waiting, running, later : int
        Jobs that are due and wait, that run, and that are due later, among the oldest that were read.
    more : bool
        Whether there are more open jobs than were read.
    oldest : Job, optional
        The longest-waiting job.
    workers, slots : int
        Live workers that listen, and the jobs that they can run concurrently.
    pause : Pause, optional
        The pause that holds its jobs.
    state : str
        ``paused``, ``ok``, ``at risk``, ``late``, ``no worker`` or ``missing``.
    advice : str
        What to do; empty if nothing.
    """

    name: str
    priority: int
    sla_seconds: float
    depth: Depth
    waiting: int
    running: int
    later: int
    more: bool
    oldest: Job | None
    oldest_ms: int
    burn: charts.Meter
    workers: int
    slots: int
    state: str
    tone: str
    advice: str
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class QueuesView:
    """All queues, most important first, the breakers, and all pauses that hold, of tasks and schedules too."""

    queues: tuple[QueueView, ...]
    breakers: tuple[BreakerState, ...]
    fleet_more: bool
    pauses: tuple[Pause, ...] = ()

    @property
    def late(self) -> int:
        """Return the queues that miss their SLA now."""
        return sum(queue.state == "late" for queue in self.queues)

    @property
    def visible(self) -> int:
        """Return the number of messages that wait in SQS."""
        return sum(queue.depth.visible or 0 for queue in self.queues)

    @property
    def dead_letters(self) -> int:
        """Return the number of messages in SQS's own dead-letter queues."""
        return sum(queue.depth.dead_letters or 0 for queue in self.queues)


def budget(settings: Settings) -> Budget:
    """Return the budget: the fleet table, the oldest open jobs, and URL and counts of queues and dead-letter queues."""
    count = len(settings.queues)
    return fleet.BUDGET + opened.budget(settings, count) + Budget(4 * count)


def read(services: Services, meter: Meter) -> QueuesView:
    """Read all queues. Raises `StoreUnavailable`; if only SQS does not answer, its figures are missing."""
    return services.shared.get("queues", lambda: _read(services, meter))


def _read(services: Services, meter: Meter) -> QueuesView:
    settings, now = services.settings, services.clock()
    seen = fleet.read(services)
    alive = seen.alive(now, settings.worker_dead_after_seconds)
    running = frozenset(job_id for worker in alive for job_id in worker.jobs)
    specs = sorted(settings.queues, key=lambda spec: (-spec.priority, spec.name))
    names = [spec.name for spec in specs]
    depths = dict(zip(names, services.together([_depth_of(services, name) for name in names]), strict=True))
    jobs = opened.look(services, meter, names, waiting_first(running, now))
    rows = tuple(
        view(spec, depths[spec.name], jobs[spec.name], alive, now, seen.pauses.of(PauseKind.QUEUE, spec.name, now))
        for spec in specs
    )
    return QueuesView(rows, seen.breakers, seen.more, tuple(seen.pauses.active(now)))


def waiting_first(running: frozenset[str], now: int) -> opened.Choose:
    """Select the jobs that are due and that no worker reports as running."""

    def choose(entries: Sequence[IndexEntry]) -> list[str]:
        return [entry.job_id for entry in entries if entry.at <= now and entry.job_id not in running]

    return choose


def view(
    spec: QueueSpec, depth: Depth, jobs: Opened, alive: Sequence[WorkerRecord], now: int, pause: Pause | None = None
) -> QueueView:
    """Build a queue's view from what was read. Pure."""
    listening = [worker for worker in alive if spec.name in worker.queues and not worker.drain]
    running = frozenset(job_id for worker in alive for job_id in worker.jobs)
    runs = {job.job_id for job in jobs.jobs.values() if job.status is not JobStatus.PENDING} | running
    waits = [job for job in jobs.jobs.values() if job.status is JobStatus.PENDING and job.available_at <= now]
    oldest = min(waits, key=lambda job: job.available_at, default=None)
    oldest_ms = now - oldest.available_at if oldest else 0
    share = oldest_ms / 1000 / spec.sla_seconds
    state, tone = ("paused", "warn") if pause else _state(depth, share, bool(listening), bool(waits))
    return QueueView(
        name=spec.name,
        priority=spec.priority,
        sla_seconds=spec.sla_seconds,
        depth=depth,
        waiting=sum(entry.at <= now and entry.job_id not in runs for entry in jobs.entries),
        running=sum(entry.job_id in runs for entry in jobs.entries),
        later=sum(entry.at > now for entry in jobs.entries),
        more=jobs.more,
        oldest=oldest,
        oldest_ms=oldest_ms,
        burn=charts.meter(
            share, description=f"{spec.name}: the oldest waits {span(oldest_ms)} of {spec.sla_seconds:g} s"
        ),
        workers=len(listening),
        slots=sum(worker.concurrency for worker in listening),
        state=state,
        tone=tone,
        advice=_advice(spec.name, state, depth),
        pause=pause,
    )


def _state(depth: Depth, share: float, heard: bool, waits: bool) -> tuple[str, str]:
    if depth.problem.startswith("no such queue"):
        return "missing", "bad"
    if not heard and waits:
        return "no worker", "bad"
    if share > 1:
        return "late", "bad"
    return ("at risk", "warn") if share > AT_RISK else ("ok", "ok")


def _advice(name: str, state: str, depth: Depth) -> str:
    if state == "missing":
        return "Create it: jobclaim up"
    if state == "no worker":
        return f"Jobs wait, but no worker listens to {name}: start one, or check whether its group is scaled to 0."
    if state == "late":
        return "Check that there are enough workers, and whether they run long jobs."
    if depth.dead_letters:
        return f"{depth.dead_letters} in its dead-letter queue: jobclaim dead queue list"
    return ""


def _depth_of(services: Services, name: str) -> Callable[[], Depth]:
    return lambda: _depth(services, name)


def _depth(services: Services, name: str) -> Depth:
    physical = services.settings.physical_name(name)
    try:
        counts = _counts(services, services.settings.queue_urls.get(name), physical)
        dead = _counts(services, services.settings.dead_letter_url(name), services.settings.dead_letter_name(name))
    except (ClientError, BotoCoreError) as error:
        return Depth(problem=f"SQS is unavailable: {trouble_of(error).what}")
    if not counts:
        return Depth(problem="no such queue in SQS")
    return Depth(counts["visible"], counts["in_flight"], counts["delayed"], dead.get("visible"))


def _counts(services: Services, url: str | None, physical: str) -> Mapping[str, int]:
    try:
        found = url or services.shared.get(
            ("queue url", physical), lambda: _url(services, physical), fresh_ms=URL_KEPT_MS
        )
        answer: Any = services.sqs.get_queue_attributes(QueueUrl=found, AttributeNames=list(COUNTS.values()))
    except ClientError as error:
        if error.response["Error"]["Code"].endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return {}
        raise
    return {field: int(answer["Attributes"][name]) for field, name in COUNTS.items()}


def _url(services: Services, physical: str) -> str:
    return str(services.sqs.get_queue_url(QueueName=physical)["QueueUrl"])
