"""One trace over a submission, a retry, a crash and a success, through a real worker, as an OTLP receiver gets it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from jobs import JobStatus
from tests.support.endpoints import Endpoint
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until
from workers import create_app
from workers.telemetry import traces

pytestmark = pytest.mark.real
OK, ERROR = 1, 2


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver() as made:
        yield made


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
        wait_until(lambda: ended in scraped(), 20, lambda: f"{ended} in {scraped()}")
        text = scraped()
    assert 'jobclaim_claims_total{queue="default",task="tests.note"} 6.0' in text
    assert "jobclaim_queue_wait_seconds_bucket" in text
    assert not any(job_id in text for job_id in ids)


def free_port() -> int:
    """Give a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
