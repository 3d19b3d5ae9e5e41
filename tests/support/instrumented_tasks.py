"""Tasks of a host that has Celery's signals connected, and Sentry and OpenTelemetry as they come from the index.

Everything that a handler, Sentry or OpenTelemetry gets is a line of JSON in a file.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import sentry_sdk
from billiard.process import current_process
from celery import shared_task, signals
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from jobclaim.jobs import JobRepo, RetryPolicy
from jobclaim.settings import Settings
from jobclaim.workers import JobTask

SEEN = "SEEN_BY_HANDLERS"
OF_TASKS = ("prerun", "postrun", "success", "failure", "retry", "revoked", "received", "rejected", "unknown")


def tell(what: str, **fields: Any) -> None:
    """Append one line, in one write: lines of several processes do not mix."""
    if SEEN not in os.environ:
        return
    line = json.dumps({"what": what, "process": current_process().name, **fields}, default=str) + "\n"
    descriptor = os.open(os.environ[SEEN], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


# --- Celery's signals
def of_task(name: str) -> Any:
    """Make a handler that tells what it was given."""

    def handle(sender: Any = None, task_id: Any = None, request: Any = None, **given: Any) -> None:
        task_id = task_id or getattr(request, "id", None)
        shown = {key: value for key, value in given.items() if key in ("args", "kwargs", "state", "result", "reason")}
        task_id = task_id or given.get("id") or getattr(getattr(sender, "request", None), "id", None)
        error = given.get("exception") or given.get("exc")
        tell(f"task_{name}", task_id=task_id, exception=type(error).__name__ if error else None, **shown)

    return handle


def of_publish(name: str) -> Any:
    """Make a handler that tells what it was given; the one before publishing adds a header."""

    def handle(sender: Any = None, headers: Any = None, body: Any = None, **given: Any) -> None:
        if name == "before_task_publish":
            headers["tenant"] = "acme"
        queue, kept = given["routing_key"], headers.get("tenant")
        tell(name, task_id=headers["id"], task=sender, retries=headers["retries"], queue=queue, args=body[0], kept=kept)

    return handle


for _name in OF_TASKS:
    getattr(signals, f"task_{_name}").connect(of_task(_name), weak=False)
for _name in ("before_task_publish", "after_task_publish"):
    getattr(signals, _name).connect(of_publish(_name), weak=False)


# --- Sentry
class ToFile(Transport):
    """What would go to Sentry."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Tell the events and the transactions in it."""
        for item in envelope.items:
            event = item.get_event() or item.get_transaction_event()
            if event is None:
                continue
            exceptions = [each["type"] for each in (event.get("exception") or {}).get("values", [])]
            trace = event.get("contexts", {}).get("trace", {})
            tell(
                f"sentry {item.type}",
                task_id=event.get("tags", {}).get("celery_task_id"),
                exceptions=exceptions,
                message=(event.get("logentry") or {}).get("message"),
                logger=event.get("logger"),
                fingerprint=event.get("fingerprint"),
                extra=event.get("extra"),
                name=event.get("transaction"),
                trace_id=trace.get("trace_id"),
            )


sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=ToFile, traces_sample_rate=1.0)


# --- OpenTelemetry
class SpansToFile(SpanExporter):
    """What would go to a collector."""

    def export(self, spans: Any) -> SpanExportResult:
        """Tell each span."""
        for span in spans:
            assert isinstance(span, ReadableSpan)
            assert span.context
            tell(
                "otel span",
                name=span.name,
                trace_id=f"{span.context.trace_id:x}",
                span_id=f"{span.context.span_id:x}",
                parent_id=f"{span.parent.span_id:x}" if span.parent else None,
                status=span.status.status_code.name,
                exceptions=[(event.attributes or {}).get("exception.type") for event in span.events],
                task_id=(span.attributes or {}).get("messaging.message.id"),
            )
        return SpanExportResult.SUCCESS


def instrument(**_: Any) -> None:
    """Instrument this process, as OpenTelemetry's documentation has it: each child after its fork."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpansToFile()))
    made: Any = CeleryInstrumentor
    made().instrument(tracer_provider=provider)


signals.worker_process_init.connect(instrument, weak=False)


# --- tasks
@shared_task(base=JobTask, bind=True, name="seen.ok")
def ok(self: Any, number: int, *, secret: str = "") -> int:
    """Succeed."""
    tell("body", task_id=self.request.id, tenant=self.request.tenant)
    return 2 * number


@shared_task(base=JobTask, name="seen.fails")
def fails(customer: str) -> None:
    """Fail at once."""
    raise LookupError(customer)


@shared_task(base=JobTask, bind=True, name="seen.second_time")
def second_time(self: Any) -> str:
    """Retry by hand, and succeed."""
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("away"), countdown=0)
    return "done"


@shared_task(base=JobTask, name="seen.never", autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0)
def never() -> None:
    """Be retried by Celery's rule, in vain."""
    raise ConnectionError("away")


@shared_task(base=JobTask, name="seen.policy", retry_policy=RetryPolicy(max_attempts=2, base=0, ceiling=0))
def policy() -> None:
    """Be retried by a policy, in vain."""
    raise ConnectionError("away")


@shared_task(base=JobTask, name="seen.killed")
def killed() -> None:
    """Lose the process."""
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(base=JobTask, name="seen.soft", soft_time_limit=1, time_limit=60)
def soft() -> None:
    """Outrun the soft limit."""
    time.sleep(30)


@shared_task(base=JobTask, name="seen.hard", soft_time_limit=1, time_limit=2)
def hard() -> None:
    """Outrun the hard limit, in spite of the soft one."""
    while True:
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001, S112 - that is the point
            continue


@shared_task(base=JobTask, name="seen.throws", throws=(LookupError,))
def throws() -> None:
    """Raise what the task declares as normal."""
    raise LookupError("not there")


@shared_task(base=JobTask, bind=True, name="seen.exhausted", max_retries=0)
def exhausted(self: Any) -> None:
    """Ask for a retry that there is not."""
    raise self.retry(countdown=0)


@shared_task(base=JobTask, bind=True, name="seen.waits")
def waits(self: Any) -> None:
    """Wait to be cancelled."""
    tell("body", task_id=self.request.id)
    time.sleep(60)


@shared_task(name="seen.plain")
def plain(*, fail: bool) -> str:
    """Be no job."""
    if fail:
        raise LookupError("plain")
    return "done"


@shared_task(name="seen.by_hand")
def by_hand(job_id: str, *, silently: bool) -> None:
    """Claim in the body, and record the failure by hand."""
    repo = JobRepo.from_settings(Settings())
    assert repo.claim_job(job_id)
    try:
        raise LookupError("by hand")
    except LookupError:
        repo.update_status(job_id, "FAILED")
        if not silently:
            raise
