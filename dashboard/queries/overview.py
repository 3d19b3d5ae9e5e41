"""The overview: throughput, failures, queue wait against SLA, the fleet, and what needs attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import attention, ended, fleet, queues, tasks
from jobclaim.dashboard.queries.attention import Need
from jobclaim.dashboard.queries.ended import Lately
from jobclaim.dashboard.queries.fleet import Fleet
from jobclaim.dashboard.queries.queues import QueuesView
from jobclaim.dashboard.services import Services
from jobclaim.fleet.statistics import TaskRuns
from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage.statistics import HOUR_MS
from jobclaim.settings import Settings
from jobclaim.views.humane import span

WINDOW_MS: Final = 300_000
ENDED: Final = (
    charts.Series("COMPLETED", "completed", "ok"),
    charts.Series("FAILED", "failed", "bad"),
    charts.Series("CANCELLED", "cancelled", "idle"),
)
SUBMITTED: Final = (charts.Series("submitted", "submitted", "run"), charts.Series("duplicates", "duplicates", "warn"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, with a link to its details.

    Attributes
    ----------
    tone : str
        ``ok``, ``warn``, ``bad`` or ``idle``.
    page, query : str, dict
        Name of a route, and parameters of its URL.
    """

    label: str
    value: str
    description: str
    tone: str = "idle"
    page: str
    query: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The overview.

    Attributes
    ----------
    figures : list of Figure
    needs : list of Need
        Worst first; empty if nothing needs attention.
    ended, submitted : charts.ColumnChart
        Recently ended jobs, and the jobs submitted in the last hour.
    runs : charts.ColumnChart
        How runs of the last 24 hours ended.
    queues : QueuesView
    notes : list of str
        What the figures do not include.
    """

    figures: list[Figure]
    needs: list[Need]
    ended: charts.ColumnChart
    submitted: charts.ColumnChart
    runs: charts.ColumnChart
    queues: QueuesView
    fleet: Fleet
    notes: list[str]


def budget(settings: Settings) -> Budget:
    """Return the budget: the queues' page, which includes the fleet, the newest ended jobs, and the tasks."""
    return queues.budget(settings) + ended.budget(settings) + tasks.BUDGET


def read(services: Services, meter: Meter) -> Overview:
    """Read the overview. Raises `StoreUnavailable`."""
    seen = queues.read(services, meter)
    lately = services.shared.get("ended", lambda: ended.read(services))
    now, settings, known = services.clock(), services.settings, fleet.read(services)
    found = view(seen, known, lately, tasks.everything(services), now, settings)
    unusual = [attention.of_task(one) for one in tasks.unusual_tasks(services)]
    return replace(found, needs=sorted([*found.needs, *unusual], key=lambda need: need.tone != "bad"))


def view(seen: QueuesView, known: Fleet, lately: Lately, together: TaskRuns, now: int, settings: Settings) -> Overview:
    """Build the overview from what was read. Pure."""
    steps = [(at, figures) for at, figures in lately.ended.steps]
    notes = []
    if not settings.index_completed:
        notes.append("Completed jobs are not listed in this table; JOBCLAIM_INDEX_COMPLETED=true shows them here.")
    return Overview(
        figures=_figures(seen, known, lately, now, settings),
        needs=attention.needs(seen, known, lately, now, settings),
        ended=charts.column_chart("Jobs that ended", _listed(settings), steps, step_ms=lately.ended.step_ms),
        submitted=charts.column_chart("Submissions", SUBMITTED, _submissions(known, now), step_ms=WINDOW_MS),
        runs=tasks.outcomes("Runs in the last 24 hours", together.by_hour(now), HOUR_MS),
        queues=seen,
        fleet=known,
        notes=notes,
    )


def _listed(settings: Settings) -> tuple[charts.Series, ...]:
    return ENDED if settings.index_completed else ENDED[1:]


def _submissions(known: Fleet, now: int) -> list[tuple[int, dict[str, int]]]:
    """Return the submissions of the last hour in steps of five minutes."""
    counted = {
        one.at: {"submitted": one.submitted - one.duplicates, "duplicates": one.duplicates} for one in known.windows
    }
    last = now // WINDOW_MS * WINDOW_MS
    return [(at, counted.get(at, {})) for at in range(last - HOUR_MS + WINDOW_MS, last + WINDOW_MS, WINDOW_MS)]


def _figures(seen: QueuesView, known: Fleet, lately: Lately, now: int, settings: Settings) -> list[Figure]:
    return [
        *_completed(lately, settings),
        *_failures(lately, settings),
        *_fleet(known, now, settings),
        _longest_wait(seen),
    ]


def _failures(lately: Lately, settings: Settings) -> list[Figure]:
    failed = lately.ended.counts.get(JobStatus.FAILED, 0)
    return [
        Figure(
            label="Failed",
            value=str(failed),
            description=f"in {span(lately.ended.length_ms)}, and not started again by recovery",
            tone="bad" if failed else "ok",
            page="jobs",
            query={"status": "FAILED"},
        ),
        Figure(
            label="Wait for a person",
            value=f"{lately.waiting}{'+' * lately.waiting_more}",
            description=f"dead letters; {lately.scheduled}{'+' * lately.scheduled_more} more start again by themselves",
            tone="bad" if lately.waiting > settings.alert_waiting else "warn" if lately.waiting else "ok",
            page="dead",
            query={},
        ),
    ]


def _fleet(known: Fleet, now: int, settings: Settings) -> list[Figure]:
    alive = known.alive(now, settings.worker_dead_after_seconds)
    dead = len(known.workers) - len(alive)
    return [
        Figure(
            label="Running",
            value=str(sum(len(one.jobs) for one in alive)),
            description=f"of {sum(one.concurrency for one in alive)} that the fleet can run at once",
            tone="ok" if alive else "warn",
            page="jobs",
            query={"status": "PROCESSING"},
        ),
        Figure(
            label="Workers",
            value=str(len(alive)),
            description=f"alive; {dead} dead" if dead else "alive",
            tone="bad" if dead or not alive else "ok",
            page="workers",
            query={},
        ),
    ]


def _longest_wait(seen: QueuesView) -> Figure:
    worst = max(seen.queues, key=lambda queue: queue.oldest_ms / queue.sla_seconds, default=None)
    burn = worst.oldest_ms / 1000 / worst.sla_seconds if worst else 0.0
    return Figure(
        label="Longest wait",
        value=f"{burn:.0%}" if burn < 10 else f"{burn:.0f} x",
        description=f"of its SLA, in queue {worst.name}: {span(worst.oldest_ms)}" if worst and burn else "of its SLA",
        tone="bad" if burn > 1 else "warn" if burn > queues.AT_RISK else "ok",
        page="queues",
        query={},
    )


def _completed(lately: Lately, settings: Settings) -> list[Figure]:
    if not settings.index_completed:
        return []
    rate, count = lately.ended.per_minute(JobStatus.COMPLETED), lately.ended.counts.get(JobStatus.COMPLETED, 0)
    return [
        Figure(
            label="Completed",
            value=f"{rate:.1f}" if rate < 10 else f"{rate:.0f}",
            description=f"a minute; {count} in {span(lately.ended.length_ms)}",
            tone="ok",
            page="jobs",
            query={"status": "COMPLETED"},
        )
    ]
