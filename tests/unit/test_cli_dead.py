"""`jobclaim dead` against an embedded AWS, run in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from cli.exits import ExitCode
from cli.main import jobclaim
from cli.session import Session
from infra import LocalAws, local_aws, provision
from jobs import FailureKind, Job, JobStatus
from jobs.model import DeadState
from settings import QueueSpec, Settings
from tests.support.endpoints import unique_name
from workers import create_app


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as local:
        yield local


@pytest.fixture
def session(aws: LocalAws) -> Session:
    name = unique_name("dead")
    settings = Settings(
        endpoint_url=aws.endpoint_url,
        job_table=name,
        fleet_table=f"{name}-fleet",
        queue_prefix=f"{name}-",
        queues=(QueueSpec(name="default"),),
    )
    provision(settings)
    return Session(app=create_app(settings))


def run(session: Session, *arguments: str, code: int = ExitCode.OK) -> Result:
    result = CliRunner().invoke(jobclaim, ["dead", *arguments], obj=session, terminal_width=200)
    assert result.exit_code == code, result.output
    return result


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def failed(session: Session, kind: str = "PERMANENT", task: str = "shop.charge", error: str = "declined") -> Job:
    job = session.repo.create_job(task, {"args": [1], "kwargs": {}})
    session.repo.claim_job(job.job_id)
    return session.repo.update_status(job.job_id, "FAILED", error=error, kind=FailureKind(kind))


def test_they_are_listed_by_state_task_and_kind_and_grouped(session: Session) -> None:
    waiting, scheduled = failed(session), failed(session, "EXTERNAL", "shop.refund")
    assert {row["job_id"] for row in rows(run(session, "list"))} == {waiting.job_id, scheduled.job_id}
    assert [row["job_id"] for row in rows(run(session, "list", "--kind", "external"))] == [scheduled.job_id]
    assert [row["job_id"] for row in rows(run(session, "list", "-t", "shop.charge"))] == [waiting.job_id]
    assert [row["job_id"] for row in rows(run(session, "list", "-s", "scheduled"))] == [scheduled.job_id]
    assert {(row["kind"], row["count"]) for row in rows(run(session, "list", "--groups"))} == {
        ("PERMANENT", 1),
        ("EXTERNAL", 1),
    }
    assert ("kind", "EXTERNAL", 1) in {(r["by"], r["value"], r["count"]) for r in rows(run(session, "stats"))}


def test_a_dry_run_tells_the_count_and_changes_nothing(session: Session) -> None:
    job = failed(session)
    result = run(session, "abandon", "-t", "shop.charge", "--dry-run")
    assert "1 dead letter to abandon" in result.stderr
    assert session.repo.get_job(job.job_id) == job


def test_a_decision_is_kept_with_the_job_and_in_the_audit_trail(session: Session) -> None:
    job = failed(session)
    run(session, "resolve", job.job_id, "--by", "ada", "--reason", "paid by hand")
    after = session.repo.get_job(job.job_id)
    assert (after.status, after.dead_state, after.payload) == (JobStatus.FAILED, DeadState.RESOLVED, job.payload)
    assert (after.decisions[-1].by, after.decisions[-1].why) == ("ada", "paid by hand")
    (entry,) = rows(run(session, "audit"))
    assert (entry["verb"], entry["by"], entry["done"], entry["what"]) == ("resolve", "ada", 1, job.job_id)
    assert "resolve by ada" in run(session, "show", job.job_id, "-o", "table").stdout


def test_every_refusal_is_listed_and_some_refused_is_partial(session: Session) -> None:
    job, running = failed(session), session.repo.create_job("shop.charge")
    result = run(session, "retry", job.job_id, running.job_id, "nobody", code=ExitCode.PARTIAL)
    assert f"refused: {running.job_id}: it is PENDING, not FAILED" in result.stderr
    assert "refused: nobody: there is no such job" in result.stderr
    assert session.repo.get_job(job.job_id).status is JobStatus.PENDING


def test_a_limit_leaves_the_rest_and_a_repetition_goes_on(session: Session) -> None:
    for _ in range(5):
        failed(session)
    assert "retry: 2 of 2 done" in run(session, "retry", "--all", "--limit", "2", "--yes").stdout
    assert "retry: 3 of 3 done" in run(session, "retry", "--all", "--yes").stdout
    assert "There is no dead letter" in run(session, "list", "-o", "table").stderr


def test_nothing_is_done_without_ids_filter_or_all_and_not_without_a_yes(session: Session) -> None:
    job = failed(session)
    run(session, "retry", "--yes", code=ExitCode.USAGE)
    run(session, "retry", "--all", job.job_id, code=ExitCode.USAGE)
    run(session, "retry", "--all", code=ExitCode.ERROR)
    assert session.repo.get_job(job.job_id).status is JobStatus.FAILED


def test_messages_that_never_became_a_job_are_seen_sent_again_and_deleted(session: Session) -> None:
    import boto3

    sqs = boto3.client("sqs", endpoint_url=session.settings.endpoint("sqs"), region_name="us-east-1")
    prefix = session.settings.queue_prefix
    dead, home = (sqs.get_queue_url(QueueName=f"{prefix}{name}")["QueueUrl"] for name in ("default-dlq", "default"))
    for body in ('{"headers": {"task": "shop.charge", "id": "j1"}, "body": "x"}', "rubbish"):
        sqs.send_message(QueueUrl=dead, MessageBody=body)
    assert {(r["queue"], r["messages"]) for r in rows(run(session, "queue", "list"))} >= {("default", 2)}
    seen = {str(row["task"]): str(row["message_id"]) for row in rows(run(session, "queue", "inspect", "default"))}
    assert set(seen) == {"shop.charge", ""}
    run(session, "queue", "redrive", "default", seen["shop.charge"], "--yes")
    assert "j1" in sqs.receive_message(QueueUrl=home)["Messages"][0]["Body"]
    assert "discard: 1 messages" in run(session, "queue", "discard", "default", "--yes").stdout
    assert rows(run(session, "queue", "inspect", "default")) == []
    assert [entry["verb"] for entry in rows(run(session, "audit"))] == ["discard", "redrive"]
