"""`jobclaim dead` against an embedded AWS, run in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.infra import LocalAws, local_aws
from jobclaim.jobs import FailureKind, Job, JobStatus
from jobclaim.jobs.model import DeadState
from jobclaim.jobs.storage.counters import Counters
from jobclaim.settings import QueueSpec
from jobclaim.views.humane import iso
from jobclaim.workers import create_app
from tests.support.lent import lender


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as local:
        yield local


@pytest.fixture
def session(aws: LocalAws) -> Iterator[Session]:
    with lender(aws, "dead") as lend:
        yield Session(app=create_app(lend(queues=(QueueSpec(name="default"),))))


def run(session: Session, *arguments: str, code: int = ExitCode.OK) -> Result:
    result = CliRunner().invoke(command_line, ["dead", *arguments], obj=session, terminal_width=200)
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


def reported(result: Result, output: str) -> dict[str, object]:
    """Read the one record of an act."""
    record: dict[str, object] = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1 or output == "json"
    return record


@pytest.mark.parametrize("output", ["json", "jsonl", ""])
def test_programs_get_the_same_record_of_an_act_a_dry_run_and_of_nothing_found(session: Session, output: str) -> None:
    job, asked = failed(session), ("-o", output) if output else ()
    shape = {"verb": "retry", "unsent": 0, "limited": False, "refused": []}
    dry = reported(run(session, "retry", "--all", "--dry-run", *asked), output)
    assert dry == {**shape, "dry_run": True, "matched": 1, "done": 0}
    named = reported(run(session, "retry", job.job_id, "--dry-run", *asked), output)
    assert named == dry
    nothing = reported(run(session, "retry", "-t", "shop.nothing", *asked), output)
    assert nothing == {**shape, "dry_run": False, "matched": 0, "done": 0}
    done = reported(run(session, "retry", "--all", "--yes", *asked), output)
    assert done == {**shape, "dry_run": False, "matched": 1, "done": 1}


def test_a_dry_run_with_a_limit_counts_what_the_act_would_take(session: Session) -> None:
    for _ in range(3):
        failed(session)
    (record,) = rows(run(session, "retry", "--all", "--limit", "2", "--dry-run"))
    assert (record["matched"], record["limited"]) == (2, True)
    assert len(run(session, "retry", "--all", "--limit", "2", "--dry-run", "-o", "ids").stdout.split()) == 2


def test_ids_are_those_that_were_acted_on_or_would_be(session: Session) -> None:
    job, running = failed(session), session.repo.create_job("shop.charge")
    assert run(session, "abandon", "--all", "--dry-run", "-o", "ids").stdout == f"{job.job_id}\n"
    assert run(session, "abandon", job.job_id, "--dry-run", "-o", "ids").stdout == f"{job.job_id}\n"
    done = run(session, "abandon", job.job_id, running.job_id, "-o", "ids", code=ExitCode.PARTIAL)
    assert done.stdout == f"{job.job_id}\n"
    assert running.job_id in done.stderr
    assert run(session, "abandon", "--all", "-o", "ids").stdout == ""


def test_a_program_is_told_every_refusal_and_its_reason(session: Session) -> None:
    job = failed(session)
    (record,) = rows(run(session, "retry", job.job_id, "nobody", code=ExitCode.PARTIAL))
    assert (record["matched"], record["done"]) == (2, 1)
    assert record["refused"] == [{"job_id": "nobody", "reason": "the job does not exist"}]


@pytest.mark.parametrize("verb", ["retry", "resolve", "abandon"])
def test_ids_of_which_none_exists_are_not_found(session: Session, verb: str) -> None:
    run(session, verb, "nobody", "nobody-else", code=ExitCode.NOT_FOUND)
    running = session.repo.create_job("shop.charge")
    run(session, verb, "nobody", running.job_id, code=ExitCode.ERROR)


def test_an_act_is_narrowed_by_state(session: Session) -> None:
    waiting, scheduled = failed(session), failed(session, "EXTERNAL")
    assert run(session, "abandon", "--all", "--dry-run", "-o", "ids").stdout.count("\n") == 2
    for arguments in (("-s", "waiting"), ("--all", "--state", "WAITING"), ("-t", "shop.charge", "-s", "WAITING")):
        assert run(session, "abandon", *arguments, "--dry-run", "-o", "ids").stdout == f"{waiting.job_id}\n"
    assert run(session, "retry", "-s", "SCHEDULED", "--yes", "-o", "ids").stdout == f"{scheduled.job_id}\n"
    run(session, "resolve", "-s", "WAITING", "--yes")
    assert run(session, "retry", "-s", "RESOLVED", "--yes", "-o", "ids").stdout == f"{waiting.job_id}\n"


def test_a_state_that_an_act_cannot_have_is_refused(session: Session) -> None:
    job = failed(session)
    run(session, "abandon", "--state", "RESOLVED", "--yes", code=ExitCode.USAGE)
    run(session, "retry", job.job_id, "--state", "WAITING", code=ExitCode.USAGE)
    assert session.repo.get_job(job.job_id).status is JobStatus.FAILED


@pytest.mark.parametrize("command", [("list",), ("stats",), ("retry", "--dry-run")])
def test_two_beginnings_of_one_window_are_refused(session: Session, command: tuple[str, ...]) -> None:
    result = run(session, *command, "--since", "2h", "--failed-after", "2030-01-31T08:00:00Z", code=ExitCode.USAGE)
    assert "--since and --failed-after exclude each other" in result.stderr


def test_every_refusal_is_listed_and_some_refused_is_partial(session: Session) -> None:
    job, running = failed(session), session.repo.create_job("shop.charge")
    result = run(session, "retry", job.job_id, running.job_id, "nobody", code=ExitCode.PARTIAL)
    assert f"refused: {running.job_id}: it is PENDING, not FAILED" in result.stderr
    assert "refused: nobody: the job does not exist" in result.stderr
    assert session.repo.get_job(job.job_id).status is JobStatus.PENDING


def test_a_limit_leaves_the_rest_and_a_repetition_goes_on(session: Session) -> None:
    for _ in range(5):
        failed(session)
    (first,) = rows(run(session, "retry", "--all", "--limit", "2", "--yes"))
    assert (first["matched"], first["done"], first["limited"]) == (2, 2, True)
    assert "retry: 3 of 3 done" in run(session, "retry", "--all", "--yes", "-o", "table").stdout
    assert "No dead letters" in run(session, "list", "-o", "table").stderr


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
    (moved,) = rows(run(session, "queue", "redrive", "default", seen["shop.charge"], "--yes"))
    assert moved == {"verb": "redrive", "queue": "default", "done": 1, "missing": 0}
    assert "j1" in sqs.receive_message(QueueUrl=home)["Messages"][0]["Body"]
    assert "discard: 1 message\n" in run(session, "queue", "discard", "default", "--yes", "-o", "table").stdout
    run(session, "queue", "discard", "default", "--yes", "-o", "ids", code=ExitCode.USAGE)
    assert rows(run(session, "queue", "inspect", "default")) == []
    assert [entry["verb"] for entry in rows(run(session, "audit"))] == ["discard", "redrive"]


def test_a_retry_may_start_later_and_only_at_one_time(session: Session) -> None:
    delayed, timed = failed(session), failed(session)
    before = session.now()
    run(session, "retry", delayed.job_id, "--delay", "2h")
    tomorrow = before // 1000 * 1000 + 86_400_000
    run(session, "retry", timed.job_id, "--at", str(iso(tomorrow)))
    assert 7_200_000 <= session.repo.get_job(delayed.job_id).available_at - before < 7_260_000
    assert session.repo.get_job(timed.job_id).available_at == tomorrow
    refused = run(session, "retry", "--all", "--delay", "1h", "--at", str(iso(tomorrow)), code=ExitCode.USAGE)
    assert "--at and --delay exclude each other" in refused.stderr
    run(session, "abandon", "--all", "--delay", "1h", code=ExitCode.USAGE)


def test_statistics_tell_how_many_automatic_retries_completed(session: Session) -> None:
    assert not [row for row in rows(run(session, "stats")) if row["by"] == "automatic retries"]
    Counters.of(session.repo).add({"healed": 3, "failed_again": 1})
    found = {row["value"]: row["count"] for row in rows(run(session, "stats")) if row["by"] == "automatic retries"}
    assert found == {"completed": 3, "failed": 1, "percent completed": 75}
