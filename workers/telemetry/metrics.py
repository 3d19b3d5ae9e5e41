"""Metrics, derived from log events, so that each event is logged and counted in one call.

Labels are names from code (task, queue) and jobclaim's own terms (outcome, kind): never an argument, an id or a
message. Exported by OTLP, or scraped by Prometheus from a worker's main process, which adds up its children.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jobclaim.jobs import log
from jobclaim.settings import Settings
from jobclaim.specs import run_folder

LABELS: Final = frozenset({"task", "queue", "outcome", "kind"})
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600)
EXPORT_MS: Final = 10_000
FLUSH_MS: Final = 3_000
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes
    ----------
    field : str
        Field of the event that holds the value; empty counts events.
    labels : tuple of str
        Names among `LABELS`; ``outcome`` is the event's code after the dot.
    """

    name: str
    help: str
    field: str = ""
    labels: tuple[str, ...] = ("task", "queue")
    histogram: bool = False


SUBMITTED: Final = Metric("jobclaim.jobs.submitted", "Jobs written")
DUPLICATES: Final = Metric("jobclaim.jobs.duplicates", "Submissions whose job existed already")
CLAIMS: Final = Metric("jobclaim.claims", "Claims made")
REFUSED: Final = Metric("jobclaim.claims.refused", "Claims refused, because the job was claimed already or had ended")
WAIT: Final = Metric(
    "jobclaim.queue.wait", "Seconds from a job's due time to its claim", "wait_seconds", histogram=True
)
ENDED: Final = Metric("jobclaim.jobs.ended", "Jobs ended, by outcome", labels=("task", "queue", "outcome"))
DURATION: Final = Metric(
    "jobclaim.run.duration",
    "Seconds from the claim to the end",
    "duration_seconds",
    labels=("task", "queue", "outcome"),
    histogram=True,
)
DEAD: Final = Metric("jobclaim.dead_letters", "Jobs that failed for good", labels=("task", "queue", "kind"))
RETRIES: Final = Metric("jobclaim.retries", "Attempts that failed and are retried")
ORPHANS: Final = Metric("jobclaim.orphans", "Jobs whose worker was lost")
HELD: Final = Metric("jobclaim.held", "Jobs released before their body because of a limit")
LOST: Final = Metric("jobclaim.claims.lost", "Outcomes refused by the fence, because the claim had ended", labels=())
HEARTBEATS: Final = Metric("jobclaim.heartbeats.failed", "Series of heartbeats that could not be written", labels=())
BREAKERS: Final = Metric("jobclaim.breakers.opened", "Circuit breakers that opened", labels=())
SWEPT: Final = tuple(
    Metric(f"jobclaim.sweep.{name}", f"Recovery: {name}", name, labels=())
    for name in ("examined", "orphaned", "redispatched", "scheduled", "given_up", "expired", "held", "unsent", "failed")
)
OF_EVENT: Final[Mapping[str, tuple[Metric, ...]]] = {
    "job.submitted": (SUBMITTED,),
    "job.duplicate": (DUPLICATES,),
    "claim.acquired": (CLAIMS, WAIT),
    "claim.refused": (REFUSED,),
    "job.completed": (ENDED, DURATION),
    "job.failed": (ENDED, DURATION, DEAD),
    "job.cancelled": (ENDED, DURATION),
    "job.dispatch_limit_reached": (ENDED,),
    "job.retry_scheduled": (RETRIES,),
    "job.interrupted": (RETRIES,),
    "job.held": (HELD,),
    "job.orphaned": (ORPHANS,),
    "claim.lost": (LOST,),
    "heartbeat.failed": (HEARTBEATS,),
    "breaker.opened": (BREAKERS,),
    "recovery.pass_completed": SWEPT,
}
"""Metrics by event."""


class Sink(Protocol):
    """Destination of measurements."""

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Count the event, or record its value in the histogram."""


def measure(sink: Sink, event: Mapping[str, Any]) -> None:
    """Record the measurements of a log event."""
    for metric in OF_EVENT.get(str(event.get("event")), ()):
        known = {**event, "outcome": str(event["event"]).partition(".")[2]}
        value = known.get(metric.field, 0) if metric.field else 1
        if isinstance(value, (int, float)):
            sink.add(metric, float(value), {name: str(known.get(name, "")) for name in metric.labels})


class Measuring:
    """Measures each event, logged or not; the sink is created on the first one, in each process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass the event on."""
        if str(event.get("logger", "")).startswith("jobclaim."):
            measure(_sink(self._settings.telemetry, self._settings.telemetry_endpoint or ""), event)
        return event


def observe(settings: Settings, app: log.NamedApp | None = None) -> None:
    """Measure this process's events by these settings, except those of other apps than ``app``."""
    log.observe("metrics", Measuring(settings) if settings.telemetry != "off" else None, app)


_sinks: dict[tuple[str, str, int], Sink] = {}


def _sink(kind: str, endpoint: str) -> Sink:
    key = (kind, endpoint, os.getpid())
    if key not in _sinks:
        _sinks[key] = OtlpSink(endpoint) if kind == "otlp" else PrometheusSink()
    return _sinks[key]


class OtlpSink:
    """Exports by OTLP every ten seconds, and when the process ends."""

    def __init__(self, endpoint: str = "", reader: Any = None) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        from jobclaim.workers.telemetry.traces import resource

        url = f"{endpoint.rstrip('/')}/v1/metrics" if endpoint else None
        reader = reader or PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=url), EXPORT_MS)
        self.provider = MeterProvider([reader], resource=resource())
        self._meter = self.provider.get_meter("jobclaim")
        self._instruments: dict[str, Any] = {}

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add to the counter, or record the value in the histogram."""
        instrument: Any = self._instruments.get(metric.name)
        if instrument is None:
            make: Any = self._meter.create_histogram if metric.histogram else self._meter.create_counter
            instrument = self._instruments[metric.name] = make(metric.name, description=metric.help)
        if metric.histogram:
            instrument.record(value, labels)
        else:
            instrument.add(value, labels)


class PrometheusSink:
    """Metrics of this process for Prometheus; in a worker, files that its main process adds up over all children."""

    def __init__(self, registry: Any = None) -> None:
        from prometheus_client import REGISTRY

        self._registry = registry or REGISTRY
        self._instruments: dict[str, Any] = {}

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add to the counter, or observe the value in the histogram."""
        instrument = self._instruments.get(metric.name)
        if instrument is None:
            instrument = self._instruments[metric.name] = self._make(metric)
        of_labels = instrument.labels(**labels) if labels else instrument
        (of_labels.observe if metric.histogram else of_labels.inc)(value)

    def _make(self, metric: Metric) -> Any:
        from prometheus_client import Counter, Histogram

        name = metric.name.replace(".", "_")
        if metric.histogram:
            return Histogram(f"{name}_seconds", metric.help, metric.labels, registry=self._registry, buckets=SECONDS)
        return Counter(name, metric.help, metric.labels, registry=self._registry)


def prepare(settings: Settings) -> None:
    """Make an empty folder for the children's counts, before a worker's first metric and before its forks."""
    if settings.telemetry != "prometheus":
        return
    folder = run_folder.claim(settings.run_folder) / f"{settings.worker_name}.metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    os.environ[MULTIPROCESS] = str(folder)


def serve(settings: Settings) -> None:
    """Answer Prometheus from the worker's main process."""
    if settings.telemetry != "prometheus":
        return
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    start_http_server(settings.metrics_port, registry=registry)


def flush() -> None:
    """Export what this process has counted; called when it ends."""
    for (_, __, pid), sink in _sinks.items():
        if pid == os.getpid() and isinstance(sink, OtlpSink):
            sink.provider.force_flush(FLUSH_MS)
