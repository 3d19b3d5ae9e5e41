"""The overview: throughput, failures, queue wait against SLA, the fleet, and what needs attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import ended, fleet, queues, tasks
from jobclaim.dashboard.queries.ended import Lately
from jobclaim.dashboard.queries.fleet import Fleet
from jobclaim.dashboard.queries.queues import QueuesView
from jobclaim.dashboard.services import Services
from jobclaim.fleet.statistics import TaskRuns
from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage.pauses import PauseKind
from jobclaim.jobs.storage.statistics import HOUR_MS
from jobclaim.settings import Settings
from jobclaim.views.humane import relative, span
from jobclaim.views.pauses import pause_in_words
from jobclaim.views.unusual import Unusual

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
    says: str
    tone: str = "idle"
    page: str
    query: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that needs attention.

    Attributes
    ----------
    tone : str
        ``bad`` or ``warn``.
    """

    tone: str
    text: str
    advice: str
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
    parts = (queues.budget(settings), ended.budget(settings), tasks.BUDGET)
    return Budget(sum(part.requests for part in parts), sum(part.read_units for part in parts))


def read(services: Services, meter: Meter) -> Overview:
    """Read the overview. Raises `StoreUnavailable`."""
    seen = queues.read(services, meter)
    lately = services.shared.get("ended", lambda: ended.read(services))
    now, settings, known = services.clock(), services.settings, fleet.read(services)
    found = view(seen, known, lately, tasks.everything(services), now, settings)
    unusual = [_unusual(one) for one in tasks.unusual_tasks(services)]
    return replace(found, needs=sorted([*found.needs, *unusual], key=lambda need: need.tone != "bad"))


def view(seen: QueuesView, known: Fleet, lately: Lately, together: TaskRuns, now: int, settings: Settings) -> Overview:
    """Build the overview from what was read. Pure."""
    steps = [(at, figures) for at, figures in lately.ended.steps]
    notes = []
    if not settings.index_completed:
        notes.append("Completed jobs are not listed in this table; JOBCLAIM_INDEX_COMPLETED=true shows them here.")
    return Overview(
        figures=_figures(seen, known, lately, now, settings),
        needs=needs(seen, known, lately, now, settings),
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
            says=f"in {span(lately.ended.length_ms)}, and not started again by recovery",
            tone="bad" if failed else "ok",
            page="jobs",
            query={"status": "FAILED"},
        ),
        Figure(
            label="Wait for a person",
            value=f"{lately.waiting}{'+' * lately.waiting_more}",
            says=f"dead letters; {lately.scheduled}{'+' * lately.scheduled_more} more start again by themselves",
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
            says=f"of {sum(one.concurrency for one in alive)} that the fleet can run at once",
            tone="ok" if alive else "warn",
            page="jobs",
            query={"status": "PROCESSING"},
        ),
        Figure(
            label="Workers",
            value=str(len(alive)),
            says=f"alive; {dead} dead" if dead else "alive",
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
        says=f"of its SLA, in queue {worst.name}: {span(worst.oldest_ms)}" if worst and burn else "of its SLA",
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
            says=f"a minute; {count} in {span(lately.ended.length_ms)}",
            tone="ok",
            page="jobs",
            query={"status": "COMPLETED"},
        )
    ]


def needs(seen: QueuesView, known: Fleet, lately: Lately, now: int, settings: Settings) -> list[Need]:
    """Return what needs attention, worst first."""
    found = [
        *(
            Need(
                tone="bad", text=one.text, advice=f"Raised {relative(one.since, now)}.", page=_page(one.name), query={}
            )
            for one in known.alerts
        ),
        *_of_pauses(seen, now),
        *_of_queues(seen, known),
        *_of_fleet(known, now, settings),
    ]
    if lately.waiting and not any(one.name == "waiting" for one in known.alerts):
        text = f"{lately.waiting}{'+' * lately.waiting_more} dead letters wait for a person."
        found.append(Need(tone="warn", text=text, advice="Retry, resolve or abandon them.", page="dead", query={}))
    return sorted(found, key=lambda need: need.tone != "bad")


def _unusual(one: Unusual) -> Need:
    advice = "Look at its failures and at what changed." if one.what == "failures" else "Look at what it waits for."
    return Need(tone="warn", text=f"Task {one.task}: {one.text}.", advice=advice, page="task", query={"name": one.task})


def _page(alert: str) -> str:
    if alert.startswith("sla:"):
        return "queues"
    return {"waiting": "dead", "critical": "dead", "duplicates": "jobs"}.get(alert, "workers")


def _of_pauses(seen: QueuesView, now: int) -> list[Need]:
    return [
        Need(
            tone="warn",
            text=f"{pause_in_words(one, now)}.",
            advice=f"To end it: jobclaim unpause {one.subject}",
            page="schedules" if one.kind == PauseKind.SCHEDULE else "queues",
            query={},
        )
        for one in seen.pauses
    ]


def _of_queues(seen: QueuesView, known: Fleet) -> list[Need]:
    raised = {one.name for one in known.alerts}
    found = [
        Need(
            tone="bad" if queue.tone == "bad" else "warn",
            text=_queue_text(queue),
            advice=queue.advice,
            page="queues",
            query={},
        )
        for queue in seen.queues
        if queue.advice and f"sla:{queue.name}" not in raised
    ]
    found += [
        Need(
            tone="warn",
            text=f"Breaker {one.name} is {one.state}: its service counts as down.",
            advice="Jobs that need it go back uncharged until it answers.",
            page="queues",
            query={},
        )
        for one in seen.breakers
        if one.state != "closed"
    ]
    return found


def _queue_text(queue: queues.QueueView) -> str:
    if queue.state == "no worker":
        return f"No worker listens on queue {queue.name}."
    if queue.state == "ok":
        return f"SQS's dead-letter queue of {queue.name} is not empty."
    return f"Queue {queue.name} is {queue.state}."


def _of_fleet(known: Fleet, now: int, settings: Settings) -> list[Need]:
    alive = known.alive(now, settings.worker_dead_after_seconds)
    found: list[Need] = []
    dead = [one for one in known.workers if one not in alive]
    if dead:
        names = ", ".join(one.worker_id for one in dead[:3]) + " ..." * (len(dead) > 3)
        text = f"{len(dead)} {'worker is' if len(dead) == 1 else 'workers are'} dead: {names}."
        found.append(Need(tone="bad", text=text, advice="Recovery settles their jobs.", page="workers", query={}))
    if not alive:
        advice = "Start one: jobclaim worker run"
        found.append(Need(tone="warn", text="No worker is alive.", advice=advice, page="workers", query={}))
    silent = now - known.evaluated_at if known.evaluated_at else 0
    if silent > settings.alert_silence_seconds * 1000:
        text = f"Recovery was silent for {span(silent)}: orphans and lost messages wait as long."
        found.append(
            Need(tone="bad", text=text, advice="Is its schedule running? jobclaim doctor", page="workers", query={})
        )
    versions = sorted({one.version for one in alive})
    if len(versions) > 1:
        text = f"Several versions run at once: {', '.join(versions)}."
        advice = "That is normal only during a deployment."
        found.append(Need(tone="warn", text=text, advice=advice, page="workers", query={}))
    if fleet.differing(alive, settings):
        text, advice = "Living workers have different settings.", "That is normal only during a deployment."
        found.append(Need(tone="warn", text=text, advice=advice, page="workers", query={}))
    return found
