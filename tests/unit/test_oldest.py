"""The doctor's ages of what is oldest, and what the fleet costs at rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobclaim.cli.session import Session
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.infra.clients import sqs_client
from jobclaim.infra.cost import EMPTY_POLLS_PER_HOUR
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import QueueSpec, Settings
from jobclaim.specs.finding import Level
from jobclaim.views.at_rest import at_rest
from jobclaim.views.oldest import of_queue
from tests.unit.test_cli_jobs import aws, failed, make_session, records, run, session

__all__ = ["aws", "make_session", "session"]  # fixtures

NOW = 1_800_000_000_000
SETTINGS = Settings(queues=(QueueSpec(name="default", sla_seconds=60),))
WAITING = Job(job_id="w", task="t", queue="default", status=JobStatus.PENDING, available_at=NOW - 59_000)
RUNNING = Job(
    job_id="r",
    task="t",
    queue="default",
    status=JobStatus.PROCESSING,
    claimed_at=NOW - 30_000,
    lease_expires_at=NOW + 30_000,
)


@pytest.mark.parametrize(
    ("job", "usual", "level", "says"),
    [
        (WAITING, {}, Level.OK, "waits for 59 s (w); the SLA is 60 s"),
        (replace(WAITING, available_at=NOW - 61_000), {}, Level.WARN, "waits for 1 min 1 s"),
        (RUNNING, {"t": 15_000}, Level.OK, "runs for 30 s (r)"),
        (RUNNING, {"t": 14_000}, Level.WARN, "95 % of the runs of t take 14 s at most"),
        (replace(RUNNING, lease_expires_at=NOW - 60_000), {}, Level.OK, "runs for 30 s"),
        (replace(RUNNING, lease_expires_at=NOW - 61_000), {}, Level.WARN, "1 min 1 s past the end of its lease"),
    ],
)
def test_the_oldest_job_is_judged_by_sla_lease_and_usual_time(
    job: Job, usual: dict[str, int], level: Level, says: str
) -> None:
    later = replace(WAITING, job_id="later", available_at=NOW + 1)
    (found,) = of_queue("default", [later, job], SETTINGS, usual, NOW)
    assert (found.level, says in found.problem, bool(found.fix)) == (level, True, level is Level.WARN), found


def test_the_doctor_shows_what_is_oldest(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    first = session.repo.create_job("shop.charge")
    letter = failed(session)
    running = session.repo.create_job("shop.charge")
    session.repo.claim_job(running.job_id)
    sqs, name = sqs_client(session.settings), session.settings.dead_letter_name("mail")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], MessageBody="rubbish")
    later = session.now() + 20 * 86_400_000
    monkeypatch.setattr(session.repo, "clock", lambda: later)
    rows = {(row["subject"], row["level"]): row["what"] for row in records(run(session, "doctor", "--no-tasks"))}
    assert first.job_id in rows["oldest waiting job of default", "WARN"]
    assert running.job_id in rows["oldest running job of default", "WARN"]
    assert f"awaits a person for 20 d ({letter.job_id})" in rows["oldest dead letter", "WARN"]
    assert "holds 1 message;" in rows["queue mail", "WARN"]


def test_the_doctor_shows_what_the_live_workers_cost_at_rest(session: Session) -> None:
    fleet = FleetRecords.of(session.repo)
    for number in range(2):
        record = WorkerRecord(worker_id=f"w-{number}", seen_at=session.now(), queues=("default",), concurrency=4)
        fleet.beat(record)
    rows: dict[str, Any] = {row["subject"]: row for row in records(run(session, "doctor", "--no-tasks"))}
    said = rows["cost at rest"]["what"]
    assert f"2 live workers without jobs: {2 * EMPTY_POLLS_PER_HOUR} polls, 720 heartbeats and 360 recovery" in said
    assert rows["cost at rest"]["level"] == "OK"


def test_a_fleet_without_workers_has_no_cost_to_show() -> None:
    assert at_rest([], SETTINGS) == ""
