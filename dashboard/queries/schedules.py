"""The schedules: next ticks, last results, and findings.

The id of a tick's job is derived from the schedule's name and the due time, so the last results are read by id. Users'
task modules are not imported here; `jobclaim schedule validate` also checks what only they define.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from jobclaim.dashboard import charts
from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import fleet, opened
from jobclaim.dashboard.queries.walk import HEAVIEST
from jobclaim.dashboard.services import Services
from jobclaim.fleet.by_hand import RunByHand
from jobclaim.fleet.workers import WorkerRecord
from jobclaim.governance.schedule_rules import World, validate
from jobclaim.governance.schedules import Entry, entry_of, last_fires, next_fires
from jobclaim.jobs import Job
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.pauses import Pause, PauseKind
from jobclaim.settings import Settings
from jobclaim.specs.cron import Cron
from jobclaim.specs.finding import Finding
from jobclaim.views.humane import span

TICKS: Final = 5
"""Last ticks that are read per schedule."""
MOST: Final = 40
"""Most schedules whose last ticks are read."""
AHEAD_MS: Final = 24 * 3_600_000
"""Time that the chart covers."""
MOST_DRAWN: Final = 96
"""Most ticks of a schedule in the chart; a schedule that fires more often is drawn as one bar."""
NEXT: Final = 3
KEPT_MS: Final = 60_000
"""How long findings and entries, which are derived from settings, are cached."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One due time of a schedule, epoch milliseconds, and the job of that tick.

    Attributes
    ----------
    job : Job, optional
        ``None`` if there is none: beat did not run, the job is past its retention, or it was not read.
    """

    at: int
    job_id: str
    job: Job | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """One schedule.

    Attributes
    ----------
    when : str
        In the notation of crontab(5), or as an interval.
    next : tuple of int
        Epoch milliseconds.
    last : tuple of Tick
        Newest first.
    pause : Pause, optional
    by_hand : RunByHand, optional
        The last run by hand.
    unread : bool
        Whether the ticks were not read because there are more schedules than one view reads.
    """

    name: str
    task: str
    when: str
    queue: str
    expires: float | None
    next: tuple[int, ...]
    last: tuple[Tick, ...]
    unread: bool
    findings: int
    pause: Pause | None
    by_hand: RunByHand | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesView:
    """All schedules, the next one first."""

    schedules: tuple[ScheduleView, ...]
    findings: tuple[Finding, ...]
    chart: charts.LaneChart | None
    by_beat: bool


def budget(settings: Settings) -> Budget:
    """Return the budget: the fleet table, and the last ticks' jobs in batches."""
    batches = min(MOST, len(settings.schedules) + 1) * TICKS // opened.BATCH + 4
    return fleet.BUDGET + Budget(batches, (opened.BATCH + 1) * HEAVIEST)


def read(services: Services, meter: Meter) -> SchedulesView:
    """Read the schedules' last ticks. Raises `StoreUnavailable`."""
    return services.shared.get("schedules", lambda: _read(services, meter))


def _read(services: Services, meter: Meter) -> SchedulesView:
    settings, now = services.settings, services.clock()
    entries = services.shared.get("schedule entries", lambda: entries_of(settings), fresh_ms=KEPT_MS)
    known = fleet.read(services)
    alive = known.alive(now, settings.worker_dead_after_seconds)
    moment = datetime.fromtimestamp(now / 1000, UTC)
    ticks = {entry.name: last_ticks(entry, moment, TICKS) for entry in entries[:MOST]}
    jobs = opened.read(services, meter, [tick.job_id for found in ticks.values() for tick in found])
    jobs = {job_id: job for job_id, job in jobs.items() if not lifecycle.is_gone(job, now)}
    found = services.shared.get(
        ("schedule findings", heard := _heard(alive)), lambda: findings(entries, settings, heard), fresh_ms=KEPT_MS
    )
    return view(entries, ticks, jobs, found, settings, now, known)


def _heard(alive: Sequence[WorkerRecord]) -> frozenset[str]:
    return frozenset(queue for worker in alive for queue in worker.queues)


def entries_of(settings: Settings) -> list[Entry]:
    """Return the entries that beat submits under these settings, including recovery."""
    from jobclaim.workers.schedule.entries import beat_schedule

    return [entry_of(name, row, zone=UTC) for name, row in beat_schedule(settings).items()]


def findings(entries: Sequence[Entry], settings: Settings, heard: frozenset[str]) -> tuple[Finding, ...]:
    """Check the schedules as far as the settings and the live workers allow."""
    world = World(
        queues=heard or None,
        queue_of={entry.task: settings.queue_of(entry.task) for entry in entries},
        default_queue=settings.default_queue,
        expires_by_default=True,
        aligned=True,
        year=datetime.now(UTC).year,
    )
    return tuple(sorted(validate(entries, world)))


def last_ticks(entry: Entry, before: datetime, count: int) -> list[Tick]:
    """Return the last times at which an entry was due, newest first."""
    from jobclaim.workers.schedule.beat import tick_id

    return [
        Tick(round(at.timestamp() * 1000), tick_id(entry.name, at), None) for at in last_fires(entry, before, count)
    ]


def view(
    entries: Sequence[Entry],
    ticks: Mapping[str, Sequence[Tick]],
    jobs: Mapping[str, Job],
    found: Sequence[Finding],
    settings: Settings,
    now: int,
    known: fleet.Fleet,
) -> SchedulesView:
    """Build the page's data from what was read. Pure."""
    rows = [
        ScheduleView(
            name=entry.name,
            task=entry.task,
            when=words(entry),
            queue=entry.queue or settings.queue_of(entry.task),
            expires=entry.expires,
            next=tuple(_ahead(entry, now, NEXT)),
            last=tuple(replace(tick, job=jobs.get(tick.job_id)) for tick in ticks.get(entry.name, ())),
            unread=entry.name not in ticks,
            findings=sum(one.subject == entry.name for one in found),
            pause=known.pauses.of(PauseKind.SCHEDULE, entry.name, now),
            by_hand=known.by_hand.get(entry.name),
        )
        for entry in entries
    ]
    rows.sort(key=lambda row: (not row.next, row.next[:1], row.name))
    return SchedulesView(
        schedules=tuple(rows), findings=tuple(found), chart=chart(entries, now), by_beat=settings.recovery_by_beat
    )


def chart(entries: Sequence[Entry], now: int) -> charts.LaneChart | None:
    """Chart the next day, without schedules that fire all the time: they would only be a full bar."""
    lanes: list[tuple[str, list[charts.Span]]] = []
    for entry in entries:
        if entry.fires_all_the_time:
            continue
        moments = [at for at in _ahead(entry, now, MOST_DRAWN + 1) if at <= now + AHEAD_MS]
        if len(moments) > MOST_DRAWN:
            lanes.append((entry.name, [charts.Span(now, now + AHEAD_MS, "plan", f"{words(entry)}, all day")]))
        elif moments:
            lanes.append((entry.name, [charts.Span(at, at, "plan", _clock(at)) for at in moments]))
    if not lanes:
        return None
    return charts.lane_chart("Ticks in the next 24 hours", lanes, start=now, end=now + AHEAD_MS, now=now)


def words(entry: Entry) -> str:
    """Describe when an entry fires, in the notation of crontab(5)."""
    if not isinstance(entry.when, Cron):
        return f"every {span(round(entry.when * 1000))}" if entry.when else "not understood"
    cron = entry.when
    fields = (
        (cron.minutes, 0, 59),
        (cron.hours, 0, 23),
        (cron.days, 1, 31),
        (cron.months, 1, 12),
        (cron.weekdays, 0, 6),
    )
    zone = "" if entry.zone in (None, UTC) or str(entry.zone) == "UTC" else f" ({entry.zone})"
    return " ".join(_field(values, first, last) for values, first, last in fields) + zone


def _field(values: frozenset[int], first: int, last: int) -> str:
    """Write a field of a crontab in its short form: ``*``, ``*/15``, ``1-5``, ``0,30``."""
    numbers = sorted(values)
    if len(numbers) == last - first + 1:
        return "*"
    if len(numbers) > 2:
        step = numbers[1] - numbers[0]
        if numbers == list(range(first, last + 1, step)):
            return f"*/{step}"
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers)) or "never"


def _ahead(entry: Entry, now: int, count: int) -> list[int]:
    after = datetime.fromtimestamp(now / 1000, UTC)
    return [round(at.timestamp() * 1000) for at in next_fires(entry, after, count)]


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%a %H:%M:%S UTC")
