"""One trace over a submission, a retry, a crash and a success, through a real worker, as an OTLP receiver gets it."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.workers import create_app
from jobclaim.workers.telemetry import traces
from tests.support.endpoints import Endpoint
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.stack import ROOT, Stack, deployed
from tests.support.waiting import wait_until
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.real
OK, ERROR = 1, 2


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver of its own, and an exporter of this process that knows it."""
    monkeypatch.setattr(traces, "_providers", {})
    with otlp_receiver() as made:
        yield made
        for provider in traces._providers.values():
            provider.shutdown()


@pytest.fixture
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, receiver: Receiver) -> Iterator[Stack]:
    with deployed(
        dynamodb_local,
        elasticmq,
        tmp_path,
        task_modules=("tests.support.traced_tasks",),
        run_dir=str(tmp_path),
        telemetry="otlp",
        telemetry_endpoint=receiver.endpoint,
    ) as made:
        yield made


def test_a_retry_and_a_crash_are_one_trace_whose_attempts_are_linked(stack: Stack, receiver: Receiver) -> None:
    from tests.support.traced_tasks import traced

    app = create_app(stack.settings)
    stack.worker("worker", "-c", "1", "-Q", "default")
    job_id = app.tasks[traced.name].delay().id
    traces.flush()
    job = stack.wait_for([job_id], JobStatus.COMPLETED, 60)[job_id]
    assert job.attempt == 3
    wait_until(
        lambda: len(receiver.named("run tests.traced")) == 3 and receiver.named("body's own"),
        30,
        lambda: f"three runs arrived, not {[span.name for span in receiver.spans]}",
    )
    [submit] = receiver.named("submit tests.traced")
    runs, queues, claims = (receiver.named(name) for name in ("run tests.traced", "queue", "claim"))
    assert {span.trace_id for span in receiver.spans} == {submit.trace_id}
    assert (len(queues), len(claims)) == (3, 3)
    for span in (*runs, *queues, *claims):
        assert span.parent_span_id == submit.span_id
        assert span.end_time_unix_nano >= span.start_time_unix_nano
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)

    assert [[link.span_id for link in run.links] for run in runs] == [[], [runs[0].span_id], [runs[1].span_id]]
    attributes = [{pair.key: pair.value for pair in run.attributes} for run in runs]
    assert [row["jobclaim.attempt"].int_value for row in attributes] == [1, 2, 3]
    assert [row["jobclaim.outcome"].string_value for row in attributes] == ["retry", "retry", "completed"]
    assert [row["exception.type"].string_value for row in attributes[:2]] == ["ConnectionError", "WorkerLostError"]
    assert [run.status.code for run in runs] == [ERROR, ERROR, 0]
    assert {row["jobclaim.job_id"].string_value for row in attributes} == {job_id}

    [own] = receiver.named("body's own")
    assert own.parent_span_id == runs[2].span_id


def test_recovery_tells_the_attempt_of_a_lost_worker_in_the_jobs_own_trace(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, receiver: Receiver
) -> None:
    from tests.support.tasks import wait_or_again

    telemetry = {"telemetry": "otlp", "telemetry_endpoint": receiver.endpoint}
    quick = {"heartbeat_seconds": 1, "worker_dead_after_seconds": 5}
    with deployed(dynamodb_local, elasticmq, tmp_path, run_dir=str(tmp_path), **telemetry, **quick) as stack:
        lost = stack.worker("lost", "-c", "1", "-Q", "default")
        app = create_app(stack.settings)
        gate = tmp_path / "gate"
        job_id = app.tasks[wait_or_again.name].delay(str(gate)).id
        traces.flush()
        wait_until(lambda: stack.bodies()[job_id, 1], 30, "the body runs")
        lost_id = stack.repo.get_job(job_id).worker_id
        lost.send_group(signal.SIGKILL)
        assert not receiver.named("run tests.wait_or_again")
        recovery = [sys.executable, "-m", "jobclaim", "recover", "--every", "1"]
        with WarmProcess("recovery", recovery, log_dir=tmp_path, env=stack.environment, cwd=ROOT):
            [orphan] = wait_until(
                lambda: receiver.named("run tests.wait_or_again"), 40, lambda: f"recovery told, not {receiver.spans}"
            )
        gate.touch()
        stack.worker("heir", "-c", "1", "-Q", "default")
        stack.wait_for([job_id], JobStatus.COMPLETED, 60)
        wait_until(lambda: len(receiver.named("run tests.wait_or_again")) == 2, 30, "the second attempt arrived")
    [submit] = receiver.named("submit tests.wait_or_again")
    first, second = receiver.named("run tests.wait_or_again")
    assert {span.trace_id for span in receiver.spans} == {submit.trace_id}
    assert first == orphan
    assert {span.parent_span_id for span in (first, second)} == {submit.span_id}
    assert [[link.span_id for link in run.links] for run in (first, second)] == [[], [first.span_id]]
    told = {pair.key: pair.value.string_value for pair in first.attributes}
    assert (told["jobclaim.outcome"], told["jobclaim.worker"], first.status.code) == ("orphan", lost_id, ERROR)
    assert told["jobclaim.failure_kind"] == "ORPHANED"
    assert second.start_time_unix_nano >= first.end_time_unix_nano
    assert [len(receiver.named(name)) for name in ("queue", "claim")] == [2, 2]


def test_prometheus_scrapes_a_worker_with_all_its_children(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    port = free_port()
    with deployed(
        dynamodb_local, elasticmq, tmp_path, run_dir=str(tmp_path), telemetry="prometheus", metrics_port=port
    ) as stack:
        app = create_app(stack.settings)
        stack.worker("worker", "-c", "2", "-Q", "default")
        from tests.support.tasks import note

        ids = [app.tasks[note.name].delay(n).id for n in range(6)]
        stack.wait_for(ids, JobStatus.COMPLETED, 60)

        def scraped() -> str:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        ended = 'jobclaim_jobs_ended_total{outcome="completed",queue="default",task="tests.note"} 6.0'
        wait_until(lambda: ended in scraped(), 30, lambda: f"{ended} in {scraped()}")
        text = scraped()
    assert 'jobclaim_claims_total{queue="default",task="tests.note"} 6.0' in text
    assert "jobclaim_queue_wait_seconds_bucket" in text
    assert not any(job_id in text for job_id in ids)


def free_port() -> int:
    """Give a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
