"""Overhead of logging, redaction, metrics and traces per job: CPU microseconds, each part by itself.

``python -m bench.telemetry_overhead`` prints a table. Exporters send nothing: only this process's part is measured.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.log import get_logger
from jobclaim.settings import Settings
from jobclaim.workers.messages import envelope
from jobclaim.workers.telemetry import logs, metrics, traces

ROUNDS = 2_000


def main() -> None:
    """Measure and print."""
    rows = {"log lines of one job, redacted": lines()}
    rows["metrics of one job, Prometheus"] = measuring("prometheus")
    rows["metrics of one job, OpenTelemetry"] = measuring("otlp")
    rows["spans of one job, telemetry off"] = spans(Settings(telemetry="off"))
    rows["spans of one job, OTLP"] = spans(Settings(telemetry="otlp", telemetry_endpoint="http://127.0.0.1:9"))
    out = ["| part | CPU us per job |", "|---|---|", *(f"| {name} | {value:.0f} |" for name, value in rows.items())]
    sys.stdout.write("\n".join(out) + "\n")
    sys.stdout.flush()


def cpu(body: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the CPU microseconds of one call in this thread, the best of five."""
    best = float("inf")
    for _ in range(5):
        begin = time.thread_time()
        for _ in range(rounds):
            body()
        best = min(best, time.thread_time() - begin)
    return best / rounds * 1e6


def lines() -> float:
    """Log three lines, as a worker does."""
    logs.configure(Settings())
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(io.StringIO())
    log = get_logger("jobclaim.worker")
    fields = {"job_id": "a" * 36, "task": "shop.charge", "queue": "default", "attempt": 1}

    def body() -> None:
        log.info("job.submitted", **fields)
        log.info("claim.acquired", wait_seconds=0.1, sla_missed=False, **fields)
        log.info("job.completed", duration_seconds=0.2, **fields)

    return cpu(body)


def measuring(kind: str) -> float:
    """Record the measurements of three events."""
    sink: metrics.Sink = metrics.PrometheusSink() if kind == "prometheus" else metrics.OtlpSink("http://127.0.0.1:9")
    fields = {"task": "shop.charge", "queue": "default"}

    def body() -> None:
        metrics.measure(sink, {"event": "job.submitted", **fields})
        metrics.measure(sink, {"event": "claim.acquired", "wait_seconds": 0.1, **fields})
        metrics.measure(sink, {"event": "job.completed", "duration_seconds": 0.2, **fields})

    return cpu(body)


def spans(settings: Settings) -> float:
    """Create the spans of a submission, its attachment and an attempt."""
    job = Job(
        job_id="a" * 36,
        task="shop.charge",
        queue="default",
        status=JobStatus.COMPLETED,
        attempt=1,
        created_at=1_000,
        available_at=1_000,
        claimed_at=1_100,
    )
    if traces.is_on(settings):  # export nothing: the processor's thread would be measured too
        import os

        from opentelemetry.sdk.trace import TracerProvider

        key = os.getpid(), settings.telemetry_endpoint or ""
        traces._providers[key] = TracerProvider(id_generator=traces.ChosenIds())  # type: ignore[arg-type]

    def body() -> None:
        with traces.submitting(settings, job.task, {}) as carried:
            sealed = replace(job, envelope=envelope.seal(carried))
        traces.enter(settings, sealed)
        traces.ended(settings, sealed, "completed", at=1_200)

    return cpu(lambda: copy_context().run(body))


if __name__ == "__main__":
    main()
