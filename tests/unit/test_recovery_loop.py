"""Recovery as a process of its own, and as a Celery task."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.recovery import SweepReport, alerts, run_every, tasks
from jobclaim.recovery.lambda_handler import handler
from jobclaim.specs import systemd
from jobclaim.workers import apps, create_app
from jobclaim.workers.schedule.entries import RECOVERY_TASK
from jobclaim.workers.submission import dispatch
from jobclaim.workers.telemetry import logs
from tests.support.clock import ManualClock
from tests.support.recovery import Bench, bench_settings, store


def test_the_loop_runs_at_once_and_ends_when_it_is_told_to() -> None:
    stop = threading.Event()

    def run() -> SweepReport:
        stop.set()
        return SweepReport(orphaned=2)

    reports: list[SweepReport] = []
    started = time.monotonic()
    assert run_every(3_600, run, stop, on_report=reports.append) == 1
    assert time.monotonic() - started < 60
    assert reports == [SweepReport(orphaned=2)]


def test_the_loop_told_to_stop_before_it_begins_runs_nothing() -> None:
    stop = threading.Event()
    stop.set()
    assert run_every(1, lambda: pytest.fail("it ran"), stop) == 0


def test_a_failed_pass_is_logged_and_the_next_one_is_tried() -> None:
    stop = threading.Event()
    tries = 0

    def run() -> SweepReport:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("DynamoDB is away")
        stop.set()
        return SweepReport()

    with capture_logs() as lines:
        assert run_every(0.001, run, stop) == 1
    assert [line["event"] for line in lines] == ["recovery.pass_failed"] * 2 + ["recovery.pass_completed"]
    assert lines[-1]["orphaned"] == 0
    assert "cursor" not in lines[-1]


class Rhythm(threading.Event):
    """An event that writes down how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == 3:
            self.set()
        return self.is_set()


def test_the_time_that_a_pass_takes_is_part_of_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rhythm, now = Rhythm(), [100.0]
    monkeypatch.setattr("jobclaim.recovery.loop.time", SimpleNamespace(monotonic=lambda: now[0]))

    def run() -> SweepReport:
        now[0] += 4 if rhythm.waits else 11
        return SweepReport()

    run_every(10, run, rhythm)
    assert rhythm.waits == [0, 6, 6], "the first is late already"


@pytest.fixture
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store("model", request) as client:
        yield Bench(client, bench_settings(), clock)


def test_the_task_is_registered_under_the_name_that_the_schedule_uses() -> None:
    assert RECOVERY_TASK in create_app().tasks


def test_the_task_runs_a_pass_on_the_apps_repo_and_sends_through_the_app(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(bench.settings)
    app.jobclaim.use(bench.repo.settings, bench.repo)
    monkeypatch.setattr("jobclaim.recovery.tasks.publish", lambda _, job, delay: bench.sent(job, delay))
    bench.claimed("again", on_orphan="retry")
    bench.claimed("fails")
    bench.clock.advance(1860)
    with capture_logs() as lines:
        counts = app.tasks[RECOVERY_TASK].apply().get()
    assert (counts["orphaned"], counts["retried"]) == (2, 1)
    assert bench.sent.messages == [("again", 1, 0.0)]
    report = lines[-1]
    assert (report["event"], report["orphaned"]) == ("recovery.pass_completed", 2)


def test_no_payload_and_no_token_is_ever_logged(bench: Bench) -> None:
    worker = bench.new_repo()
    for job_id, options in (("fails", {}), ("again", {"on_orphan": "retry"})):
        worker.create_job("tasks.work", {"password": "s3cret"}, job_id=job_id, **options)  # type: ignore[arg-type]
    tokens = [claim.claim_token for claim in map(worker.claim_job, ("fails", "again")) if claim]
    worker.create_job("tasks.work", {"password": "s3cret"}, job_id="lost")
    bench.clock.advance(1860)
    with capture_logs() as lines:
        bench.sweep()
    assert {line["event"] for line in lines} == {"job.orphaned", "job.dispatched"}
    assert all({"job_id", "task", "queue", "attempt"} <= line.keys() for line in lines)
    assert not any(secret in str(lines) for secret in ("s3cret", *tokens))


def test_the_process_tells_systemd_that_it_is_ready_and_after_each_pass_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(systemd, "notify", told.append)

    def run() -> SweepReport:
        told.append("pass")
        raise ConnectionError

    run_every(0.0, run, Rhythm())
    assert told == [systemd.READY, *("pass", systemd.ALIVE) * 3]


def test_the_task_and_the_function_evaluate_the_alerts_after_their_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(bench.settings)
    app.jobclaim.use(bench.repo.settings, bench.repo)
    did: list[Any] = []
    monkeypatch.setattr(apps, "default_app", lambda: app)
    for module in (alerts, tasks):
        monkeypatch.setattr(module, "evaluate", lambda repo: did.append(("evaluate", repo)))
    monkeypatch.setattr(dispatch, "publish", lambda app, job, delay: did.append(("send", app, job.job_id, delay)))
    monkeypatch.setattr(logs, "configure", lambda settings: did.append(("configure", settings)))
    monkeypatch.setattr(bench.repo, "flush", lambda: did.append(("flush",)))
    app.tasks[RECOVERY_TASK].apply().get()
    bench.claimed("again", on_orphan="retry")
    bench.clock.advance(1860)

    with capture_logs() as lines:
        counts = handler({}, None)

    assert did == [
        ("evaluate", bench.repo),
        ("configure", app.jobclaim.settings),
        ("send", app, "again", 0.0),
        ("evaluate", bench.repo),
        ("flush",),
    ]
    assert (counts["orphaned"], lines[-1]["event"], lines[-1]["orphaned"]) == (1, "recovery.pass_completed", 1)
