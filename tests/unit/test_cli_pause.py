"""`jobclaim pause` and `jobclaim unpause`, and the commands that show what is paused."""

from __future__ import annotations

import json

import pytest
from celery.schedules import crontab

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.session import Session
from jobclaim.fleet.by_hand import runs_in
from jobclaim.fleet.registered import RegisteredTasks, digest_of
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import JobStatus
from jobclaim.views.humane import clock_time
from tests.unit.test_cli_jobs import aws, make_session, records, run, session

__all__ = ["aws", "make_session", "session"]  # fixtures

WHY = ("--reason", "the provider is down", "--by", "ann")


def test_a_pause_is_listed_shown_and_ended(session: Session) -> None:
    (made,) = records(run(session, "pause", "queue", "mail", *WHY, "--for", "2h"))
    assert (made["kind"], made["name"], made["by"], made["active"]) == ("queue", "mail", "ann", True)
    assert made["until_ms"] - made["since_ms"] == pytest.approx(7_200_000, abs=5_000)
    (listed,) = records(run(session, "pause", "list"))
    assert listed == made
    drawn = run(session, "pause", "list", "-o", "table").stdout
    assert {"queue", "mail", "ann", "provider"} <= set(drawn.split())
    queues = {row["queue"]: row["paused"] for row in records(run(session, "queues"))}
    assert queues == {"default": None, "mail": made, "recovery": None}
    assert "mail (paused)" in run(session, "queues", "-o", "table").stdout

    (ended,) = records(run(session, "unpause", "queue", "mail", "--by", "bob"))
    assert (ended["active"], ended["ended_by"]) == (False, "bob")
    assert records(run(session, "pause", "list")) == []
    assert [row["ended_by"] for row in records(run(session, "pause", "list", "--ended"))] == ["bob"]
    again = run(session, "unpause", "queue", "mail")
    assert again.exit_code == ExitCode.ERROR
    assert "queue mail is not paused" in again.stderr


def test_a_held_job_says_by_whom_until_when_and_why(session: Session) -> None:
    held, free = session.repo.create_job("shop.charge"), session.repo.create_job("shop.other")
    (made,) = records(run(session, "pause", "task", "shop.charge", *WHY, "--for", "2h"))
    drawn = " ".join(run(session, "show", held.job_id, "-o", "table").stdout.split())
    assert f"Held: task shop.charge is paused by ann until {clock_time(made['until_ms'])} (in 1 h" in drawn
    assert "the provider is down" in drawn
    told = json.loads(run(session, "show", held.job_id, "-o", "json").stdout)
    assert told["paused"]["name"] == "shop.charge"
    assert json.loads(run(session, "show", free.job_id, "-o", "json").stdout)["paused"] is None


def test_a_paused_schedule_is_marked_where_schedules_are_listed(session: Session) -> None:
    session.app.conf.beat_schedule = {"nightly": {"task": "shop.charge", "schedule": crontab(minute="0", hour="3")}}
    run(session, "pause", "schedule", "nightly", *WHY)
    rows = {row["name"]: row["paused"] for row in records(run(session, "schedule", "list"))}
    assert rows.pop("nightly")["by"] == "ann"
    assert not any(rows.values())
    assert "nightly (paused)" in run(session, "schedule", "list", "-o", "table").stdout


def test_the_doctor_names_what_is_paused(session: Session) -> None:
    run(session, "pause", "queue", "mail", *WHY)
    rows = [json.loads(line) for line in run(session, "doctor", "-o", "jsonl").stdout.splitlines()]
    (found,) = [row for row in rows if row["subject"] == "queue mail" and "paused" in row["problem"]]
    assert (found["level"], "ann" in found["problem"]) == ("WARN", True)
    assert "jobclaim unpause queue mail" in found["fix"]


def test_a_pause_and_its_end_are_in_the_trail_once_each(session: Session) -> None:
    run(session, "pause", "queue", "mail", *WHY)
    run(session, "unpause", "queue", "mail", "--by", "bob", "--reason", "it is back")
    told = [(row["verb"], row["what"], row["by"], row["why"], row["face"]) for row in records(run(session, "trail"))]
    assert told == [
        ("unpause", "queue mail", "bob", "it is back", "cli"),
        ("pause", "queue mail", "ann", "the provider is down", "cli"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("queue", "mial", *WHY), "did you mean 'mail'"),
        (("task", "shop.chrage", *WHY), "did you mean 'shop.charge'"),
        (("schedule", "nightyl", *WHY), "did you mean 'nightly'"),
        (("queue", "mail"), "Missing option '--reason'"),
        (("queue", "mail", *WHY, "--for", "1h", "--until", "2100-01-01T00:00:00Z"), "give one of them"),
        (("queue", "mail", *WHY, "--until", "2000-01-01T00:00:00Z"), "in the past"),
        (("queue", "recovery", *WHY), "belongs to recovery"),
    ],
)
def test_a_pause_that_would_hold_nothing_is_refused_with_what_to_type(
    session: Session, line: tuple[str, ...], says: str
) -> None:
    session.app.conf.beat_schedule = {"nightly": {"task": "shop.charge", "schedule": 60.0}}
    RegisteredTasks.of(session.repo).write(["shop.charge"])
    record = WorkerRecord(worker_id="w1", seen_at=session.now(), tasks=digest_of(["shop.charge"]))
    FleetRecords.of(session.repo).beat(record)
    refused = run(session, "pause", *line)
    assert refused.exit_code in (ExitCode.USAGE, ExitCode.ERROR)
    assert says in refused.stderr
    assert records(run(session, "pause", "list")) == []


def test_a_name_that_no_worker_knows_yet_may_be_paused_on_demand(session: Session) -> None:
    RegisteredTasks.of(session.repo).write(["shop.charge"])
    FleetRecords.of(session.repo).beat(
        WorkerRecord(worker_id="w1", seen_at=session.now(), tasks=digest_of(["shop.charge"]))
    )
    assert records(run(session, "pause", "task", "shop.coming", *WHY, "--unknown"))[0]["name"] == "shop.coming"


# --- purge
def test_a_purged_queues_waiting_jobs_are_cancelled_and_no_others(session: Session) -> None:
    repo = session.repo
    waiting, later = (
        repo.create_job("shop.charge", queue="mail"),
        repo.create_job("shop.charge", queue="mail", available_at=session.now() + 3_600_000),
    )
    running, other = repo.create_job("shop.charge", queue="mail"), repo.create_job("shop.charge")
    repo.claim_job(running.job_id)
    session.settings.queue("mail")

    planned = run(session, "purge", "mail", "--dry-run", "-o", "json")
    assert json.loads(planned.stdout)["matched"] == 2
    assert {repo.get_job(job.job_id).status for job in (waiting, later)} == {JobStatus.PENDING}
    assert run(session, "purge", "mail").exit_code == 1  # nobody confirmed

    done = json.loads(run(session, "purge", "mail", "--reason", "sent twice", "--yes", "-o", "json").stdout)
    assert (done["verb"], done["done"], done["refused"]) == ("purge", 2, [])
    for job in (waiting, later):
        after = repo.get_job(job.job_id)
        assert (after.status, after.failure and after.failure.message) == (JobStatus.CANCELLED, "sent twice")
        assert repo.claim_job(job.job_id, attempt=0) is None  # its message, which is still in SQS
    assert [repo.get_job(job.job_id).status for job in (running, other)] == [JobStatus.PROCESSING, JobStatus.PENDING]
    (entry,) = [row for row in records(run(session, "trail")) if row["verb"] == "purge"]
    assert (entry["what"], entry["why"], entry["done"]) == ("queue=mail state=PENDING", "sent twice", 2)


def test_a_queue_that_does_not_exist_is_not_purged(session: Session) -> None:
    refused = run(session, "purge", "mial", "--yes")
    assert refused.exit_code == ExitCode.ERROR
    assert "did you mean 'mail'" in refused.stderr


# --- schedule run
def test_a_schedule_is_run_now_with_its_own_arguments_as_a_tick_of_its_own(session: Session) -> None:
    session.app.conf.beat_schedule = {
        "nightly": {
            "task": "shop.charge",
            "schedule": crontab(minute="0", hour="3"),
            "args": (7,),
            "options": {"queue": "mail", "expires": 60.0},
        }
    }
    ids = [records(run(session, "schedule", "run", "nightly", "--by", "ann"))[0]["job_id"] for _ in range(2)]
    assert len(set(ids)) == 2
    job = session.repo.get_job(ids[0])
    assert (job.task, job.queue, job.payload["args"], job.status) == ("shop.charge", "mail", [7], JobStatus.PENDING)
    assert job.start_by - job.created_at == pytest.approx(60_000, abs=5_000)
    assert ids[0].startswith("nightly@")
    assert ids[0].endswith("-by-hand")
    told = [(row["verb"], row["what"], row["by"]) for row in records(run(session, "trail"))]
    assert told == [("schedule run", f"nightly {job_id}", "ann") for job_id in reversed(ids)]
    items = session.repo.table.client().scan(TableName=session.settings.fleet_table)["Items"]
    assert (runs_in(items)["nightly"].job_id, runs_in(items)["nightly"].by) == (ids[1], "ann")


@pytest.mark.parametrize(("name", "says"), [("nightyl", "did you mean 'nightly'"), ("jobclaim-recovery", "recover")])
def test_a_schedule_that_cannot_be_run_by_hand_is_refused(session: Session, name: str, says: str) -> None:
    session.app.conf.beat_schedule = {**session.app.conf.beat_schedule, "nightly": {"task": "x", "schedule": 60.0}}
    refused = run(session, "schedule", "run", name)
    assert refused.exit_code == ExitCode.ERROR
    assert says in refused.stderr
