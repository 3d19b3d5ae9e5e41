"""Traces of jobs: one trace from the submission through every attempt, whichever process ends it.

::

    submit orders.ship                    by the caller; its context is stored with the job, on each of its messages
      ├── queue                           from the time it was due to the claim
      ├── claim
      ├── run orders.ship, attempt 1      ERROR: its child was killed; reported by the worker's main process
      ├── queue
      ├── claim
      └── run orders.ship, attempt 2      linked to attempt 1; spans of the body are below it

The spans of an attempt are reported when it has ended, by the process that ends it: the child, the main process of its
worker, or recovery. So spans of a killed process are not missing. Their ids are derived from the job's id and the
attempt, so an attempt can be linked, and a body's spans can have a parent, before that parent is reported; and an
attempt that is reported twice is one span.

Limit: a process exports every second. A killed process loses the spans of its last second: the job's own earlier
attempts are reported again, from the job's history, by the process that finds it; spans of other jobs and of bodies are
lost.

Nothing of OpenTelemetry is imported while `Settings.telemetry` is "off".
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobclaim.jobs import Job
from jobclaim.settings import Settings
from jobclaim.workers.messages.envelope import unseal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

CARRIER: Final = "traceparent"
"""Header of W3C Trace Context that the messages carry."""
FLUSH_MS: Final = 3_000
UNEXPORTED_MS: Final = 5_000
"""How long before a crash an attempt must have ended to be certainly exported."""
SCHEDULE_MS: Final = 1_000
"""Longest time that an ended span waits in the process."""
NANOSECONDS: Final = 1_000_000
OK_ENDS: Final = frozenset({"completed", "retry", "release"})

_local = threading.local()
_claim_ended: ContextVar[int | None] = ContextVar("claim_ended", default=None)
_providers: dict[tuple[int, str], TracerProvider] = {}
"""By process and endpoint: apps with their own endpoints are separate."""


def is_on(settings: Settings) -> bool:
    """Return whether traces are exported."""
    return settings.telemetry == "otlp"


def submitting(settings: Settings, task: str, options: Mapping[str, Any]) -> AbstractContextManager[Mapping[str, Any]]:
    """Trace a submission; return the options with the context that the job's messages are to carry."""
    return _traced(settings, task, options) if is_on(settings) else nullcontext(options)


@contextmanager
def _traced(settings: Settings, task: str, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with _tracer(settings).start_as_current_span(f"submit {task}", kind=SpanKind.PRODUCER) as span:
        span.set_attribute("messaging.system", "aws_sqs")
        span.set_attribute("jobclaim.task", task)
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        yield {**options, "headers": {**(options.get("headers") or {}), CARRIER: carrier[CARRIER]}}


def enter(settings: Settings, job: Job) -> None:
    """Make the attempt's span the parent of the body's spans, in the current context."""
    if not is_on(settings):
        return
    from opentelemetry import context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    _claim_ended.set(_now_ms())
    context.attach(set_span_in_context(NonRecordingSpan(_attempt(job, job.attempt))))


def crashed(settings: Settings, job: Job, outcome: str, *, at: int, kind: str = "", exception: str = "") -> None:
    """Report the spans of an attempt whose process is lost, as `ended`, and of earlier attempts."""
    if not is_on(settings):
        return
    due = job.created_at
    for past in job.history:
        if past.claimed_at and past.ended_at > job.claimed_at - UNEXPORTED_MS:
            job_ = replace(
                job, attempt=past.attempt, claimed_at=past.claimed_at, available_at=due, worker_id=past.worker_id
            )
            failure = past.failure
            ended(settings, job_, past.outcome, at=past.ended_at, exception=failure.exception if failure else "")
        due = past.ended_at
    ended(settings, job, outcome, at=at, kind=kind, exception=exception)


def ended(settings: Settings, job: Job, outcome: str, *, at: int, kind: str = "", exception: str = "") -> None:
    """Report the spans of an attempt that has ended.

    Parameters
    ----------
    job : Job
        The job with the claim that has ended: its attempt, worker and times.
    outcome : str
        ``completed``, ``failed``, ``cancelled``, ``retry``, ``release``, ``orphan``.
    at : int
        Epoch milliseconds.
    kind, exception : str
        Kind and exception type of the failure; never its message.
    """
    if not is_on(settings) or not job.claimed_at:
        return
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

    tracer, parent = _tracer(settings), _parent(job)
    attributes = {
        "jobclaim.job_id": job.job_id,
        "jobclaim.task": job.task,
        "jobclaim.queue": job.queue,
        "jobclaim.attempt": job.attempt,
    }
    claim_ended = max(_claim_ended.get() or 0, job.claimed_at)
    due = min(max(job.available_at, job.created_at), job.claimed_at)
    for name, begin, end in (("queue", due, job.claimed_at), ("claim", job.claimed_at, min(claim_ended, at))):
        with _chosen(_span_id(job, job.attempt, name)):
            span = tracer.start_span(name, parent, attributes=attributes, start_time=begin * NANOSECONDS)
        span.end(max(begin, end) * NANOSECONDS)
    with _chosen(_span_id(job, job.attempt, "run")):
        span = tracer.start_span(
            f"run {job.task}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes={**attributes, "jobclaim.worker": job.worker_id, "jobclaim.outcome": outcome},
            links=[Link(_attempt(job, job.attempt - 1))] if job.attempt > 1 else (),
            start_time=job.claimed_at * NANOSECONDS,
        )
    if exception:
        span.set_attribute("exception.type", exception)
    if kind:
        span.set_attribute("jobclaim.failure_kind", kind)
    if outcome not in OK_ENDS or exception:
        span.set_status(Status(StatusCode.ERROR, exception or outcome))
    span.end(max(at, job.claimed_at) * NANOSECONDS)


def flush() -> None:
    """Export the pending spans of this process; called when it ends."""
    for (pid, _), provider in _providers.items():
        if pid == os.getpid():
            provider.force_flush(FLUSH_MS)


# --- ids
class ChosenIds:
    """Random ids, except for a span whose id was chosen."""

    def generate_span_id(self) -> int:
        """Return the id that was chosen, else a random one."""
        chosen = getattr(_local, "span_id", 0)
        return chosen or int.from_bytes(os.urandom(8), "big") or 1

    def generate_trace_id(self) -> int:
        """Return a random id."""
        return int.from_bytes(os.urandom(16), "big") or 1

    def is_trace_id_random(self) -> bool:
        """Return true: all of the trace's id is random."""
        return True


@contextmanager
def _chosen(span_id: int) -> Iterator[None]:
    _local.span_id = span_id
    try:
        yield
    finally:
        _local.span_id = 0


def _span_id(job: Job, attempt: int, name: str) -> int:
    digest = hashlib.sha256(f"{job.submission or job.job_id}\0{job.job_id}\0{attempt}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def _attempt(job: Job, attempt: int) -> SpanContext:
    """Return the context of an attempt's span, reported or not."""
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(_submitted(job).trace_id, _span_id(job, attempt, "run"), False, TraceFlags(TraceFlags.SAMPLED))


def _submitted(job: Job) -> SpanContext:
    """Return the context of the submission; for a job that was submitted without a trace, one derived from its id."""
    from opentelemetry import context
    from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers = unseal(job.envelope).get("headers") or {}
    found = TraceContextTextMapPropagator().extract({CARRIER: str(headers.get(CARRIER, ""))}, context.Context())
    known = get_current_span(found).get_span_context()
    if known.is_valid:
        return known
    trace_id = int.from_bytes(hashlib.sha256(job.job_id.encode()).digest()[:16], "big")
    return SpanContext(trace_id, _span_id(job, 0, "submit"), True, TraceFlags(TraceFlags.SAMPLED))


def _parent(job: Job) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(_submitted(job)), Context())


# --- exporting
def _tracer(settings: Settings) -> Any:
    """Return this process's tracer: each process has its own exporting thread."""
    key = (os.getpid(), settings.telemetry_endpoint or "")
    if key not in _providers:
        for inherited in [known for known in _providers if known[0] != key[0]]:
            del _providers[inherited]
        _providers[key] = _provider(settings)
    return _providers[key].get_tracer("jobclaim")


def _provider(settings: Settings) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = settings.telemetry_endpoint and f"{settings.telemetry_endpoint.rstrip('/')}/v1/traces"
    provider = TracerProvider(resource=resource(), id_generator=ChosenIds())  # type: ignore[arg-type]
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=SCHEDULE_MS)
    )
    return provider


def resource() -> Any:
    """Return OpenTelemetry's resource; its service name is ``OTEL_SERVICE_NAME``, default ``jobclaim``."""
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "jobclaim"})


def _now_ms() -> int:
    from jobclaim.jobs.clock import system_clock

    return system_clock()
