"""What operators type and see at 80 columns: tables, times, ids for xargs, completion."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from jobclaim.cli import completing
from jobclaim.cli.commands.dead import columns as dead
from jobclaim.cli.commands.dead.columns import AUDIT_COLUMNS
from jobclaim.cli.commands.pause import COLUMNS as PAUSES
from jobclaim.cli.commands.queues import WITH_CAPACITY as QUEUES_WITH_CAPACITY
from jobclaim.cli.commands.schedule.rows import LIST
from jobclaim.cli.commands.tasks import TASK_COLUMNS
from jobclaim.cli.commands.worker.machine import COLUMNS as MACHINE
from jobclaim.cli.commands.workers import COLUMNS as WORKERS
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.findings import COLUMNS as FINDINGS
from jobclaim.cli.job_columns import columns as job_columns
from jobclaim.cli.main import command_line
from jobclaim.cli.output import Column, Output
from jobclaim.cli.session import Session
from jobclaim.jobs import Failure, FailureKind, Job, JobStatus
from jobclaim.recovery.dead.queues import summary
from jobclaim.settings import QueueSpec, Settings
from jobclaim.views.humane import past
from jobclaim.views.records import job_record

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
NOW = round(NOON.timestamp() * 1000)
JOB = "9f3c" * 16
TASK = "warehouse.nightly.reconciliation.match_all_deliveries"
EXCEPTION = "warehouse.errors.reconciliation.DeliveryNeverArrivedAtTheDock"
WORKER = "jobclaim-ip-10-0-113-207.eu-central-1.compute.internal-4711"

QUEUE = "reconciliation-with-high-priority"
PERSON = "grace.hopper@operations.warehouse.example"
DOWN = "theproviderisdown"
OTHER_LISTS: dict[str, Any] = {
    "visible": 123456,
    "in_flight": 1200,
    "delayed": 300,
    "dead_letters": 12,
    "waiting": 100,
    "running": 8,
    "later": 3,
    "more": True,
    "oldest_waiting_seconds": 200.0,
    "sla_burn": 3.33,
    "sla_seconds": 60.0,
    "capacity": {"processes": 8, "busy": 7, "recommended": 16, "why": "7 of 8 work"},
    "at_ms": NOW,
    "by": PERSON,
    "arn": f"arn:aws:sts::123456789012:assumed-role/operators/{PERSON}",
    "verb": "dead queue redrive",
    "done": 12,
    "refused": 0,
    "what": JOB,
    "why": DOWN,
    "pid": 4_194_304,
    "runs": 123456,
    "failure_rate": 0.12,
    "p50_ms": 12_500,
    "p95_ms": 200_000,
    "wait_p50_ms": 850,
    "wait_p95_ms": 12_000,
    "unusual": [],
    "kind": "schedule",
    "active": True,
    "since_ms": NOW,
    "until_ms": NOW + 3_600_000,
    "ended_by": None,
    "reason": DOWN,
    "level": "WARN",
    "check": "duplicate-names",
    "count": 3,
    "place": "warehouse/nightly/reconciliation/tasks.py:1204",
    "subject": TASK,
    "problem": "has no time limit",
    "fix": DOWN,
}


def a_row() -> dict[str, Any]:
    failure = Failure(
        kind=FailureKind.TRANSIENT, exception=EXCEPTION, message="gone " * 30, at=NOW, fingerprint="f" * 12
    )
    job = Job(
        job_id=JOB,
        task=TASK,
        queue=QUEUE,
        status=JobStatus.FAILED,
        attempt=3,
        max_attempts=4,
        created_at=NOW - 90_000,
        finished_at=NOW - 5_000,
        claimed_at=NOW - 7_000,
        failure=failure,
    )
    return {
        **job_record(job),
        "name": TASK,
        "when": "*/5 * * * * (Europe/Berlin)",
        "expires_seconds": 90.0,
        "next": ["2026-11-28T12:05:00Z"],
        "paused": None,
        "last": None,
        "worker_id": WORKER,
        "state": "alive",
        "silence_ms": 900,
        "queues": ["a", "b"],
        "jobs": [],
        "version": "9.9.9",
        "concurrency": 8,
        **OTHER_LISTS,
        "worker": WORKER,
    }


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (job_columns(NOW), {"job": JOB, "task": TASK, "now": "TRANSIENT"}),
        (dead.COLUMNS(NOW), {"job": JOB, "task": TASK, "exception": EXCEPTION}),
        (LIST, {"name": TASK, "task": TASK, "next": "2026-11-28T12:05:00Z"}),
        (WORKERS, {"worker": WORKER, "state": "alive"}),
        (QUEUES_WITH_CAPACITY, {"queue": QUEUE, "recommended": "16 instead of 8", "why": "7 of 8 work"}),
        (AUDIT_COLUMNS, {"when": "12:00:00", "by": PERSON, "verb": "dead queue redrive", "what": JOB, "why": DOWN}),
        (MACHINE, {"worker": WORKER, "state": "alive", "why": DOWN}),
        (TASK_COLUMNS, {"task": TASK, "runs": "123456", "failed": "12 %"}),
        (PAUSES, {"kind": "schedule", "name": TASK, "by": PERSON, "reason": DOWN}),
        (FINDINGS, {"check": "duplicate-names", "what": TASK, "fix": DOWN}),
    ],
)
def test_a_table_at_80_columns_keeps_what_matters_whole(
    columns: list[Column], kept: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Output("table").many([a_row()], columns, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (header,) = (line for line in lines if next(iter(kept)) in line.split())
    starts = [header.index(word) for word in header.split()]
    joined = "".join(
        line[start:end].strip() for start, end in zip(starts, [*starts[1:], 80], strict=True) for line in lines
    )
    assert all(text in joined for text in kept.values()), lines
    assert "…" not in joined


def test_what_is_left_out_is_said_and_a_wide_terminal_leaves_nothing_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Output("table").many([a_row()], job_columns(NOW), empty="")
    captured = capsys.readouterr()
    assert "TRANSIENT Delivery" in captured.out
    assert "Not shown at 80 columns: queue, charged, created; widen" in captured.err
    monkeypatch.setenv("COLUMNS", "200")
    Output("table").many([a_row()], job_columns(NOW), empty="")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "before_noon"),
    [
        ("2h ago", timedelta(hours=2)),
        ("90", timedelta(seconds=90)),
        ("1.5d", timedelta(days=1.5)),
        ("now", timedelta()),
        ("today", timedelta(hours=12)),
        ("yesterday", timedelta(hours=36)),
        ("Yesterday 14:30", timedelta(hours=21.5)),
        ("11:59:30", timedelta(seconds=30)),
        ("14:30", timedelta(hours=21.5)),
        ("2026-11-27", timedelta(hours=36)),
        ("2026-11-28T11:00", timedelta(hours=1)),
        ("2026-11-28 11:00+02:00", timedelta(hours=3)),
        ("2026-11-28T11:00:00Z", timedelta(hours=1)),
    ],
)
def test_times_are_read_as_people_write_them_in_utc(text: str, before_noon: timedelta) -> None:
    assert past(text, NOW) == round((NOON - before_noon).timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "14:61", "yesterday maybe", "2026-13-01", "9" * 400, "14:3²"])
def test_what_is_not_a_time_is_refused_with_examples_and_the_zone(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time; write 10m, 2h ago.*it is UTC"):
        past(text, NOW)


def test_print0_ends_each_id_by_nul_and_excludes_other_formats(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    Output("ids0").many([{"job_id": "a b"}, {"job_id": "c'd"}], [], empty="")
    assert capsysbinary.readouterr().out == b"a b\0c'd\0"
    refused = CliRunner().invoke(command_line, ["list", "-0", "-o", "json"])
    assert (refused.exit_code, "-0 writes bare ids" in refused.output) == (ExitCode.USAGE, True)


def test_poison_says_why_it_was_moved() -> None:
    reason = {"Reason": {"DataType": "String", "StringValue": "the body is not JSON"}}
    message = {"MessageId": "m", "Body": "rubbish", "MessageAttributes": reason}
    assert summary("mail", message).reason == "the body is not JSON"
    assert summary("mail", {"MessageId": "m", "Body": "rubbish"}).reason == ""


class TestCompletion:
    def offered(self, session: Any, *words: str) -> list[str]:
        complete = ShellComplete(command_line, {"obj": session}, "jobclaim", "_JOBCLAIM_COMPLETE")
        return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]

    def session(self, **parts: Any) -> Any:
        settings = Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail")))
        return type("Known", (Session,), {"settings": settings, **parts})()

    def test_queues_come_from_the_settings(self) -> None:
        assert self.offered(self.session(), "list", "-q", "m") == ["mail"]
        assert self.offered(self.session(), "dead", "queue", "inspect", "ma") == ["mail"]

    def test_ids_are_those_of_the_states_that_the_command_accepts(self) -> None:
        asked: list[str] = []

        class Repo:
            def list_jobs(self, status: str, **_: Any) -> Any:
                asked.append(status)
                job = Job(job_id=f"id-{status.lower()}", task="t", queue="q", status=JobStatus(status))
                return type("Page", (), {"jobs": (job,)})

        session = self.session(repo=Repo())
        assert self.offered(session, "retry", "id") == ["id-failed"]
        assert self.offered(session, "cancel", "id") == ["id-processing", "id-pending"]
        assert self.offered(session, "dead", "abandon", "id") == ["id-failed"]
        assert self.offered(session, "show", "id-p") == ["id-processing", "id-pending"]

    def test_an_error_is_silent_and_a_slow_store_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ever = threading.Event()

        class Broken:
            def list_jobs(self, *_: Any, **__: Any) -> Any:
                raise OSError("no route")

        class Slow:
            def list_jobs(self, *_: Any, **__: Any) -> Any:
                ever.wait()

        monkeypatch.setattr(completing, "PATIENCE_SECONDS", 0.01)
        for repo in (Broken(), Slow()):
            assert self.offered(self.session(repo=repo), "show", "id") == []
        ever.set()
        assert capfd.readouterr() == ("", "")
