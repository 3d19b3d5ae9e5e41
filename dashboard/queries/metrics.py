"""Metrics of the whole fleet for Prometheus; each worker serves its own metrics itself.

Read at most once in five seconds, however many scrapers there are. Only what a view reads is counted, so figures of
jobs have a ceiling, which their help states; those of messages are SQS's own approximations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from jobclaim.dashboard.meter import Budget, Meter
from jobclaim.dashboard.queries import fleet, opened, queues
from jobclaim.dashboard.services import Services
from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings

FRESH_MS: Final = 5_000
COUNTED: Final = 100
"""Most dead letters that are counted per index shard."""
COUNTED_UNITS: Final = 2 * opened.ENTRY_UNITS
BREAKER_STATES: Final = ("closed", "half open", "open")
MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = Mapping[str, str]
Sample: TypeAlias = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric: a name without its prefix, what it means, and its values."""

    name: str
    help: str
    samples: tuple[Sample, ...]


def budget(settings: Settings) -> Budget:
    """Return the budget: the page of queues, and the waiting dead letters of each index shard."""
    return queues.budget(settings) + Budget(settings.index_shards, settings.index_shards * COUNTED_UNITS)


def read(services: Services, meter: Meter) -> str:
    """Return the metrics as text, at most five seconds old. Raises `StoreUnavailable`."""
    return services.shared.get("metrics", lambda: _read(services, meter), fresh_ms=FRESH_MS)


def _read(services: Services, meter: Meter) -> str:
    seen, rows = fleet.read(services), queues.read(services, meter).queues
    waiting = _waiting(services)
    gauges = [*of_queues(rows, services.settings), *of_fleet(seen, services), _dead_letters(waiting, services.settings)]
    return "".join(text(gauge) for gauge in gauges)


def _waiting(services: Services) -> int:
    """Count the dead letters that await a person, by their index entries alone."""
    table = services.repo.table
    keys = [schema.closed_key(JobStatus.FAILED, shard) for shard in range(table.shards)]
    pages = services.together([lambda key=key: table.entries(key, limit=COUNTED) for key in keys])  # type: ignore[misc]
    return sum(len(page) for page in pages)


def of_queues(rows: Iterable[queues.QueueView], settings: Settings) -> Iterator[Gauge]:
    """Build the gauges of queues; figures that SQS did not return are missing."""
    rows = list(rows)
    most = opened.ENTRIES * settings.index_shards
    messages = [
        ({"queue": row.name, "state": state}, float(count))
        for row in rows
        for state, count in (
            ("visible", row.depth.visible),
            ("in_flight", row.depth.in_flight),
            ("delayed", row.depth.delayed),
        )
        if count is not None
    ]
    yield Gauge("queue_messages", "Approximate number of messages in SQS.", tuple(messages))
    yield Gauge(
        "queue_dead_letter_messages",
        "Messages in the queue's dead-letter queue in SQS.",
        tuple(
            ({"queue": row.name}, float(row.depth.dead_letters)) for row in rows if row.depth.dead_letters is not None
        ),
    )
    jobs = [
        ({"queue": row.name, "state": state}, float(count))
        for row in rows
        for state, count in (("waiting", row.waiting), ("running", row.running), ("later", row.later))
    ]
    yield Gauge("queue_jobs", f"Open jobs among the oldest {most} of the queue.", tuple(jobs))
    ages = [({"queue": row.name}, row.oldest_ms / 1000) for row in rows]
    yield Gauge("queue_oldest_waiting_seconds", "How long the oldest waiting job has been due.", tuple(ages))
    shares = [({"queue": row.name}, round(row.oldest_ms / 1000 / row.sla_seconds, 6)) for row in rows]
    yield Gauge(
        "queue_sla_burn_ratio",
        "Wait of the oldest job as a share of the queue's SLA; above 1 the SLA is missed.",
        tuple(shares),
    )
    yield Gauge(
        "queue_workers",
        "Live workers that listen to the queue.",
        tuple(({"queue": row.name}, float(row.workers)) for row in rows),
    )


def of_fleet(seen: fleet.Fleet, services: Services) -> Iterator[Gauge]:
    """Build the gauges of workers, breakers and alerts."""
    now = services.clock()
    alive = seen.alive(now, services.settings.worker_dead_after_seconds)
    states = Counter("dead" if one not in alive else "stopping" if one.drain else "alive" for one in seen.workers)
    workers = tuple(({"state": state}, float(states[state])) for state in ("alive", "stopping", "dead"))
    yield Gauge("workers", "Workers by state; recovery handles the jobs of lost ones.", workers)
    slots = sum(one.concurrency for one in alive)
    yield Gauge("worker_slots", "Jobs that the live workers can run at the same time.", (({}, float(slots)),))
    running = sum(len(one.jobs) for one in alive)
    yield Gauge("worker_jobs_running", "Jobs that the live workers run.", (({}, float(running)),))
    breakers = [
        ({"breaker": one.name, "state": state}, float(one.state == state))
        for one in seen.breakers
        for state in BREAKER_STATES
    ]
    yield Gauge("breaker_state", "1 for the state that the circuit breaker is in.", tuple(breakers))
    alerts = tuple(({"alert": one.name}, 1.0) for one in seen.alerts)
    yield Gauge("alert_raised", "1 for each alert that was raised and not cleared.", alerts)
    evaluated = seen.evaluated_at / 1000
    yield Gauge("alerts_evaluated_timestamp_seconds", "When recovery last evaluated the alerts.", (({}, evaluated),))


def _dead_letters(waiting: int, settings: Settings) -> Gauge:
    most = COUNTED * settings.index_shards
    words = f"Dead letters that await a person, counted up to {most}, {COUNTED} in each index shard."
    return Gauge("dead_letters_waiting", words, (({}, float(waiting)),))


def text(gauge: Gauge) -> str:
    """Write a metric in Prometheus's text format."""
    name = f"jobclaim_{gauge.name}"
    lines = [f"# HELP {name} {gauge.help}", f"# TYPE {name} gauge"]
    lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in gauge.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
