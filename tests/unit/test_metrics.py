"""Metrics are made of events; their labels are names and words, never a value that a caller chose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from jobclaim.jobs.events import EVENTS, JOB
from jobclaim.workers.telemetry.metrics import LABELS, OF_EVENT, Measuring, Metric, OtlpSink, PrometheusSink, measure


class Book:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, dict[str, str]]] = []

    def add(self, metric: Metric, value: float, labels: Any) -> None:
        self.rows.append((metric.name, value, dict(labels)))


def test_every_metric_is_of_a_registered_event_and_reads_a_registered_field() -> None:
    for name, metrics in OF_EVENT.items():
        for metric in metrics:
            assert set(metric.labels) <= LABELS
            assert {metric.field} <= {*EVENTS[name].fields, ""}, (name, metric.field)
            assert set(metric.labels) <= {*EVENTS[name].fields, "outcome", *JOB}


@given(
    event=st.sampled_from(sorted(OF_EVENT)),
    fields=st.dictionaries(
        st.sampled_from(["arguments", "reason", "why", "job_id", "payload", "worker_id", "exception"]),
        st.text(min_size=1).map(lambda text: f"s3cret-{text}"),
    ),
)
def test_no_label_carries_a_value_that_a_caller_chose(event: str, fields: dict[str, str]) -> None:
    book = Book()
    measure(book, {"event": event, "task": "shop.pay", "queue": "mail", "kind": "PERMANENT", **fields})
    for _, __, labels in book.rows:
        assert labels.keys() <= LABELS
        assert set(labels.values()) <= {"shop.pay", "mail", "PERMANENT", event.partition(".")[2]}


def test_a_claim_counts_and_its_wait_goes_into_the_histogram() -> None:
    book = Book()
    measure(book, {"event": "claim.acquired", "task": "t", "queue": "q", "wait_seconds": 1.5})
    labels = {"task": "t", "queue": "q"}
    assert book.rows == [("jobclaim.claims", 1.0, labels), ("jobclaim.queue.wait", 1.5, labels)]


def test_a_users_line_of_the_same_name_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobclaim.settings import Settings

    book = Book()
    monkeypatch.setattr("jobclaim.workers.telemetry.metrics._sink", lambda *_: book)
    measuring = Measuring(Settings(telemetry="prometheus"))
    measuring(None, "info", {"event": "claim.acquired", "logger": "shop"})
    assert book.rows == []
    measuring(None, "info", {"event": "claim.acquired", "logger": "jobclaim.worker", "wait_seconds": 0})
    assert len(book.rows) == 2


def test_prometheus_sees_what_was_measured() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    for _ in range(3):
        measure(sink, {"event": "job.completed", "task": "t", "queue": "q", "duration_seconds": 2})
    labels = {"task": "t", "queue": "q", "outcome": "completed"}
    assert registry.get_sample_value("jobclaim_jobs_ended_total", labels) == 3
    assert registry.get_sample_value("jobclaim_run_duration_seconds_sum", labels) == 6


def test_opentelemetry_sees_what_was_measured() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    sink = OtlpSink(reader=reader)
    measure(sink, {"event": "job.failed", "task": "t", "queue": "q", "kind": "PERMANENT", "duration_seconds": 2})
    data = reader.get_metrics_data()
    assert data is not None
    names = {metric.name for row in data.resource_metrics for scope in row.scope_metrics for metric in scope.metrics}
    assert names == {"jobclaim.jobs.ended", "jobclaim.run.duration", "jobclaim.dead_letters"}
