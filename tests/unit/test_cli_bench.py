"""`jobclaim bench` measures on the deployment that it is pointed at, and leaves it as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from jobclaim.cli.commands.bench import measuring
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.infra.clients import sqs_client
from tests.unit.test_cli_jobs import aws, make_session, run, session

__all__ = ["aws", "make_session", "session"]  # fixtures


def items(session: Session) -> list[Any]:
    """Everything in the job table."""
    found: list[Any] = session.repo.table.client().scan(TableName=session.settings.job_table)["Items"]
    return found


def queues(session: Session) -> list[str]:
    """URLs of the deployment's queues."""
    found: list[str] = sqs_client(session.settings).list_queues(QueueNamePrefix=session.settings.queue_prefix)[
        "QueueUrls"
    ]
    return sorted(found)


def test_it_prints_speed_requests_units_and_dollars_and_leaves_nothing_behind(session: Session) -> None:
    before = queues(session)
    result = run(session, "bench", "--jobs", "20", "--threads", "2", "--yes", "-o", "json")
    assert result.exit_code == ExitCode.OK, result.output
    record = json.loads(result.stdout)
    assert (record["jobs"], record["deleted"], record["threads"]) == (20, 20, 2)
    assert record["jobs_per_second"] > 0
    assert record["submit_ms"]["p95"] >= record["submit_ms"]["p50"] > 0
    assert record["overhead_percent"]["p50"] == pytest.approx(
        record["claim_ms"]["p50"] + record["end_ms"]["p50"], rel=0.9
    )
    assert record["body_ms"] == 100, "so that milliseconds are percent"
    per_job = record["requests"]
    assert (per_job["put_item"], per_job["update_item"], per_job["send_message"]) == (1, 2, 1)
    assert record["requests_per_job"] == pytest.approx(sum(per_job.values()), abs=0.01)
    assert 0 < record["dollars_per_million"] < 10
    assert items(session) == []
    assert queues(session) == before


def test_people_get_a_few_lines(session: Session) -> None:
    shown = run(session, "bench", "--jobs", "10", "--yes", "-o", "table").stdout
    assert "a million jobs" in shown
    assert "95 of 100 within" in shown
    assert "% of a task of 100 ms" in shown


def test_it_asks_before_it_writes_and_a_no_changes_nothing(session: Session) -> None:
    before = queues(session)
    answer = CliRunner().invoke(command_line, ["bench"], obj=session, input="n\n")
    assert answer.exit_code != ExitCode.OK
    assert session.settings.job_table in answer.output
    assert items(session) == []
    assert queues(session) == before


def test_jobs_of_the_deployment_are_left_alone(session: Session) -> None:
    job = session.repo.create_job("shop.charge", {"args": [1], "kwargs": {}})
    run(session, "bench", "--jobs", "10", "--yes")
    assert session.repo.get_job(job.job_id) == job
    assert len(items(session)) == 1


def test_what_a_killed_run_left_is_deleted_by_the_next_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(measuring, "_delete", lambda *_: 0)
        broken.setattr(measuring, "_work", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(session, "bench", "--jobs", "10", "--yes")
    assert len(items(session)) == 10
    monkeypatch.setattr(measuring, "LEFT_AFTER_MS", -60_000)
    record = json.loads(run(session, "bench", "--jobs", "2", "--yes", "-o", "json").stdout)
    assert record["deleted"] == 12
    assert items(session) == []


def test_an_interrupted_run_deletes_what_it_wrote(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    before = queues(session)
    monkeypatch.setattr(measuring, "_work", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(session, "bench", "--jobs", "10", "--yes").exit_code != ExitCode.OK
    assert items(session) == []
    assert queues(session) == before
