"""The workers: state, last heartbeat, running jobs and version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import fleet, opened
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.services import Services
from jobclaim.fleet.workers import CANCEL, WorkerRecord
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import Settings
from jobclaim.views.humane import span

READ: Final = 120
"""Most running jobs that are read; for the others only ids are shown."""
SHOWN: Final = 200
"""Most workers on the page, lost and oldest ones first; the summary counts all."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that a worker reports as running.

    Attributes
    ----------
    job : Job, optional
        ``None`` if it was not read, or does not exist.
    ran : Meter, optional
        Its run time as a share of its lease.
    requested : str
        ``cancel`` if its worker has a cancel request that it has not read yet.
    """

    job_id: str
    job: Job | None
    ran_ms: int
    ran: charts.Meter | None
    requested: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker; ``state`` is alive, stopping or dead. Times are epoch milliseconds."""

    worker_id: str
    state: str
    seen_at: int
    silence: charts.Meter
    started_at: int
    host: str
    pid: int
    version: str
    concurrency: int
    queues: tuple[str, ...]
    running: tuple[RunningJob, ...]
    drain: bool

    @property
    def busy(self) -> charts.Meter:
        """Return the meter of slots in use; using all of them is not a problem."""
        share = len(self.running) / max(1, self.concurrency)
        words = f"{len(self.running)} of {self.concurrency} slots"
        return charts.meter(min(share, 1.0), description=words, warn=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersView:
    """The fleet.

    Attributes
    ----------
    counts : mapping of str to int
        Workers by state.
    versions : tuple of str
        Versions of live workers; more than one is normal only during a deployment.
    differing : str
        Which live workers' settings differ from each other or from the dashboard's; empty if none do.
    unheard : tuple of str
        Queues without a live worker.
    more : bool
        Whether there are more workers than are shown.
    """

    workers: tuple[WorkerView, ...]
    counts: Mapping[str, int]
    slots: int
    busy: int
    versions: tuple[str, ...]
    differing: str
    unheard: tuple[str, ...]
    more: bool


def budget(_: Settings) -> Budget:
    """Return the budget: the fleet table, and some of the running jobs."""
    batches = READ // opened.BATCH + 4
    return fleet.BUDGET + Budget(batches, (opened.BATCH + 1) * HEAVIEST)


def read(services: Services, meter: Meter) -> WorkersView:
    """Read the fleet and its running jobs. Raises `StoreUnavailable`."""
    return services.shared.get("workers", lambda: _read(services, meter))


def _read(services: Services, meter: Meter) -> WorkersView:
    seen, now = fleet.read(services), services.clock()
    after = services.settings.worker_dead_after_seconds
    shown = sorted(seen.workers, key=lambda one: (not one.is_lost(now, after), one.started_at))[:SHOWN]
    job_ids = [job_id for worker in shown for job_id in worker.jobs][:READ]
    jobs = opened.read(services, meter, job_ids)
    return view(seen, shown, jobs, now, services.settings)


def view(
    seen: fleet.Fleet, shown: Sequence[WorkerRecord], jobs: Mapping[str, Job], now: int, settings: Settings
) -> WorkersView:
    """Build the page's data from what was read. Pure."""
    states = [one.state(now, settings.worker_dead_after_seconds) for one in seen.workers]
    living = [one for one, state in zip(seen.workers, states, strict=True) if state != "dead"]
    listening = {queue for one in living if not one.drain for queue in one.queues}
    return WorkersView(
        workers=tuple(_worker(one, jobs, now, settings) for one in shown),
        counts={state: states.count(state) for state in ("alive", "stopping", "dead")},
        slots=sum(one.concurrency for one in living),
        busy=sum(len(one.jobs) for one in living),
        versions=tuple(sorted({one.version for one in living if one.version})),
        differing=fleet.differing(living, settings),
        unheard=tuple(name for name in settings.queue_names if name not in listening),
        more=seen.more or len(shown) < len(seen.workers),
    )


def _worker(one: WorkerRecord, jobs: Mapping[str, Job], now: int, settings: Settings) -> WorkerView:
    silence, limit = max(0, now - one.seen_at), settings.worker_dead_after_seconds * 1000
    return WorkerView(
        worker_id=one.worker_id,
        state=one.state(now, settings.worker_dead_after_seconds),
        seen_at=one.seen_at,
        silence=charts.meter(
            silence / limit, description=f"no heartbeat for {span(silence)}; lost after {span(limit)}"
        ),
        started_at=one.started_at,
        host=one.host,
        pid=one.pid,
        version=one.version,
        concurrency=one.concurrency,
        queues=one.queues,
        running=tuple(_running(job_id, jobs.get(job_id), one, now) for job_id in one.jobs),
        drain=one.drain,
    )


def _running(job_id: str, job: Job | None, worker: WorkerRecord, now: int) -> RunningJob:
    requested = CANCEL if worker.commands.get(job_id) == CANCEL else ""
    if job is None or job.status is not JobStatus.PROCESSING or not job.claimed_at:
        return RunningJob(job_id, job, 0, None, requested)
    ran, lease = max(0, now - job.claimed_at), max(1, job.lease_expires_at - job.claimed_at)
    words = f"{job_id}: ran {span(ran)} of a lease of {span(lease)}"
    return RunningJob(job_id, job, ran, charts.meter(ran / lease, description=words, warn=0.8), requested)
