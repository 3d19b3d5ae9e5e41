"""The commands that watch and tidy up, against an embedded AWS, run in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.schedules import crontab

from jobclaim.cli.commands import list as list_command
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.session import Session
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.idempotency import IdempotencyService
from jobclaim.jobs.protocol.lifecycle import UNSURE_AFTER_MS
from jobclaim.jobs.storage import listing
from tests.unit.test_cli_jobs import aws, failed, make_session, records, run, session, waiting_messages

__all__ = ["aws", "make_session", "session"]  # fixtures


# --- queues
def test_queues_tell_messages_jobs_and_the_share_of_the_sla(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    run(session, "submit", "shop.charge", "--args", "[1]")
    running = session.repo.create_job("shop.charge")
    session.repo.claim_job(running.job_id)
    session.repo.create_job("shop.charge", available_at=session.now() + 600_000)
    later = session.now() + 90_000
    monkeypatch.setattr(session.repo, "clock", lambda: later)
    rows = {row["queue"]: row for row in records(run(session, "queues"))}
    assert set(rows) == {"default", "mail", "recovery"}
    default = rows["default"]
    assert (default["visible"], default["waiting"], default["running"], default["later"]) == (1, 1, 1, 1)
    assert default["oldest_waiting_seconds"] >= 90
    assert default["sla_burn"] == pytest.approx(default["oldest_waiting_seconds"] / 60, abs=0.001)
    assert rows["mail"]["sla_burn"] == 0
    assert "of 60 s" in run(session, "queues", "-o", "table").stdout


def test_a_queue_that_does_not_exist_is_told_apart_from_an_empty_one(session: Session) -> None:
    from jobclaim.infra import resolve_queue_urls
    from jobclaim.infra.clients import sqs_client

    sqs = sqs_client(session.settings)
    sqs.delete_queue(QueueUrl=resolve_queue_urls(session.settings, sqs)["mail"])
    rows = {row["queue"]: row for row in records(run(session, "queues"))}
    assert (rows["mail"]["visible"], rows["default"]["visible"]) == (None, 0)
    assert "does not exist" in " ".join(run(session, "queues", "-o", "table").stdout.split())


def test_queues_ask_a_bounded_number_of_times(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        session.repo.create_job("shop.charge")
    asked: list[str] = []
    original = session.repo.table._ask_client

    def counted(operation: str, *arguments: Any, **named: Any) -> Any:
        asked.append(operation)
        return original(operation, *arguments, **named)

    monkeypatch.setattr(session.repo.table, "_ask_client", counted)
    records(run(session, "queues"))
    assert len(asked) <= 3 * (session.settings.index_shards + 1)
    assert "scan" not in asked


# --- workers
@pytest.mark.parametrize("options", [("-P", "gevent"), ("--pool=eventlet",), ("-P", "solo")])
def test_a_worker_on_a_pool_that_is_not_supported_is_not_started(session: Session, options: tuple[str, ...]) -> None:
    result = run(session, "worker", "run", "--", *options)
    assert result.exit_code == ExitCode.ERROR
    assert "is not supported" in result.stderr
    assert "-P threads" in result.stderr


def test_options_of_celery_are_not_the_name_of_a_worker(session: Session) -> None:
    result = run(session, "worker", "start", "--", "-E")
    assert result.exit_code == ExitCode.USAGE
    assert "Missing argument 'NAME'" in result.stderr


def test_workers_show_the_fleet_with_what_it_runs(session: Session) -> None:
    job = session.repo.create_job("shop.charge")
    session.repo.claim_job(job.job_id, worker_id="w-1")
    fleet, now = FleetRecords.of(session.repo), session.now()
    fleet.beat(
        WorkerRecord(worker_id="w-1", seen_at=now, queues=("default",), jobs=(job.job_id,), version="2", concurrency=4)
    )
    fleet.beat(WorkerRecord(worker_id="w-2", seen_at=now - 3_600_000, queues=("mail",), version="1"))
    rows = {row["worker_id"]: row for row in records(run(session, "workers", "--jobs"))}
    assert (rows["w-1"]["state"], rows["w-2"]["state"]) == ("alive", "dead")
    assert rows["w-1"]["jobs"][0]["task"] == "shop.charge"
    assert run(session, "workers", "-q", "mail", "-o", "ids").stdout == "w-2\n"
    assert "1 of 4" in run(session, "workers", "-o", "table").stdout


def test_workers_with_other_settings_are_told_and_those_of_an_older_release_are_not(session: Session) -> None:
    fleet, now, own = FleetRecords.of(session.repo), session.now(), session.settings.digest
    fleet.beat(WorkerRecord(worker_id="w-1", seen_at=now, digest=own))
    fleet.beat(WorkerRecord(worker_id="w-old", seen_at=now))
    fleet.beat(WorkerRecord(worker_id="w-lost", seen_at=now - 3_600_000, digest="another"))
    assert run(session, "workers", "-o", "table").stderr == ""
    fleet.beat(WorkerRecord(worker_id="w-2", seen_at=now, digest="0123456789ab"))
    assert "1 worker (w-2) has digest 0123456789ab" in run(session, "workers", "-o", "table").stderr
    digests = {row["worker_id"]: row["digest"] for row in records(run(session, "workers"))}
    assert digests == {"w-1": own, "w-old": None, "w-lost": "another", "w-2": "0123456789ab"}


def test_the_doctor_reads_with_which_settings_living_workers_run(session: Session) -> None:
    fleet, now = FleetRecords.of(session.repo), session.now()
    fleet.beat(WorkerRecord(worker_id="w-1", seen_at=now, digest="0123456789ab"))
    fleet.beat(WorkerRecord(worker_id="w-lost", seen_at=now - 3_600_000, digest="another"))
    rows = {row["subject"]: row for row in records(run(session, "doctor", "--no-tasks"))}
    found = rows["settings of live workers"]
    assert found["level"] == "WARN"
    assert "1 worker (w-1) has digest 0123456789ab" in found["what"]
    assert "w-lost" not in found["what"]


def test_no_worker_is_said(session: Session) -> None:
    assert "No worker" in run(session, "workers", "-o", "table").stderr


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "ids"])
def test_a_worker_that_is_not_well_says_why_and_programs_get_a_record(session: Session, output: str) -> None:
    result = run(session, "worker", "health", "nobody", "-o", output)
    assert result.exit_code == ExitCode.CHECK_FAILED
    assert "does not run on this machine" in result.stderr
    if output in ("table", "ids"):
        assert result.stdout == ("nobody\n" if output == "ids" else "")
    else:
        record = json.loads(result.stdout)
        assert (record["worker"], record["ok"], record["why"]) == ("nobody", False, result.stderr.strip())


def test_a_worker_that_is_asked_to_stop_is_a_record_or_a_sentence(session: Session) -> None:
    FleetRecords.of(session.repo).beat(WorkerRecord(worker_id="w-1", seen_at=session.now(), queues=("default",)))
    assert records(run(session, "worker", "stop", "--id", "w-1")) == [{"worker": "w-1", "state": "stopping"}]
    assert run(session, "worker", "stop", "--id", "w-1", "-o", "table").stdout.startswith("requested: worker 'w-1'")


# --- key
def test_a_key_is_shown_with_its_job_and_its_result_and_cleared(session: Session) -> None:
    service = IdempotencyService(session.repo, namespace="shop.charge")
    service.store_result("invoice-7", {"paid": True})
    record = json.loads(run(session, "key", "show", "shop.charge", "invoice-7", "-o", "json").stdout)
    assert (record["result"], record["answers_duplicates"]) == ({"paid": True}, True)
    cleared = run(session, "key", "clear", "shop.charge", "invoice-7")
    assert records(cleared) == [{"job_id": record["job_id"], "task": "shop.charge", "cleared": True}]
    again = json.loads(run(session, "key", "show", "shop.charge", "invoice-7", "-o", "json").stdout)
    assert again["answers_duplicates"] is False
    assert "Nothing to clear" in run(session, "key", "clear", "shop.charge", "invoice-7", "-o", "table").stdout


def test_a_key_can_be_named_by_the_values_of_the_call(session: Session) -> None:
    from jobclaim.jobs.idempotency import derive_key

    job = session.repo.create_job("shop.charge", idempotency_key=derive_key("shop.charge", {"invoice": 7}))
    [record] = records(run(session, "key", "show", "shop.charge", "--values", '{"invoice": 7}'))
    assert record["job_id"] == job.job_id


def test_a_running_job_keeps_its_key(session: Session) -> None:
    job = session.repo.create_job("shop.charge", idempotency_key="k")
    session.repo.claim_job(job.job_id)
    result = run(session, "key", "clear", "shop.charge", "k")
    assert result.exit_code == ExitCode.ERROR
    assert "cancel it" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("shop.charge", "nobody"), ExitCode.NOT_FOUND),
        (("shop.charge",), ExitCode.USAGE),
        (("shop.charge", "k", "--values", "{}"), ExitCode.USAGE),
        (("shop.charge", "--values", "[1]"), ExitCode.USAGE),
    ],
)
def test_a_key_that_is_none_is_refused(session: Session, arguments: tuple[str, ...], code: ExitCode) -> None:
    assert run(session, "key", "show", *arguments).exit_code == code


# --- list: filters and watching
def test_list_filters_by_task_kind_worker_and_time(session: Session) -> None:
    over = failed(session)
    other = session.repo.create_job("mail.send")
    running = session.repo.create_job("shop.charge")
    session.repo.claim_job(running.job_id, worker_id="w-9")
    kind = session.repo.get_job(over.job_id).failure
    assert kind is not None
    for arguments, expected in (
        (("--task", "mail.*"), other.job_id),
        (("--worker", "w-9"), running.job_id),
        (("-s", "FAILED", "--kind", kind.kind.name.lower()), over.job_id),
    ):
        assert run(session, "list", *arguments, "-o", "ids").stdout == f"{expected}\n", arguments
    assert len(records(run(session, "list", "--since", "1h"))) == 2
    assert run(session, "list", "--kind", "TRANSINT").exit_code == ExitCode.USAGE
    assert "did you mean TRANSIENT" in run(session, "list", "--kind", "TRANSINT").stderr


def test_a_filtered_list_reads_a_bounded_number_of_pages_and_loses_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SEARCHED", 2)
    monkeypatch.setattr(listing, "SEARCH_ROUNDS", 10)
    for number in range(30):
        session.repo.create_job("rare.one" if number == 29 else "shop.charge", available_at=session.now() + number)
    first = json.loads(run(session, "list", "-s", "PENDING", "--task", "rare.*", "-n", "2", "-o", "json").stdout)
    assert first["items"] == []
    cursor = first["cursors"]["PENDING"]
    rest = run(session, "list", "-s", "PENDING", "--task", "rare.*", "-n", "2", "--cursor", cursor, "-o", "json")
    assert [row["task"] for row in json.loads(rest.stdout)["items"]] == ["rare.one"]


def test_watch_shows_it_again_until_it_is_interrupted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.repo.create_job("shop.charge")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("jobclaim.cli.watching.time.sleep", sleep)
    result = run(session, "list", "--watch", "500ms")
    assert (result.exit_code, len(result.stdout.splitlines()), pauses) == (ExitCode.OK, 3, [0.5] * 3)
    assert run(session, "list", "--watch", "1ms").exit_code == ExitCode.USAGE
    assert list_command.command.name == "command"


# --- reconcile
def reconciled(session: Session) -> list[tuple[str, str]]:
    """Give check and subject of each finding; the exit code must say the same."""
    result = run(session, "audit", "--reconcile")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == (ExitCode.CHECK_FAILED if rows else ExitCode.OK), result.output
    return [(row["check"], row["subject"]) for row in rows]


def test_reconcile_finds_nothing_where_table_and_queues_agree_and_leaves_the_messages(session: Session) -> None:
    for number in range(12):
        run(session, "submit", "shop.charge", "--args", f"[{number}]")
    assert reconciled(session) == []
    assert waiting_messages(session) == 12


def test_reconcile_finds_jobs_without_message_and_messages_without_job(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobclaim.infra import resolve_queue_urls
    from jobclaim.infra.clients import sqs_client

    lost = session.repo.create_job("shop.charge", queue="mail")
    [sent] = records(run(session, "submit", "shop.charge", "--args", "[1]"))
    client = session.repo.table.client()
    client.delete_item(TableName=session.repo.table.name, Key={schema.KEY: attribute(sent["job_id"])})
    sqs = sqs_client(session.settings)
    url = resolve_queue_urls(session.settings, sqs)["default"]
    sqs.send_message(QueueUrl=url, MessageBody="somebody else's")
    assert reconciled(session) == [("no-job", sent["job_id"])], "the other job's submitter is probably still sending"
    later = session.now() + UNSURE_AFTER_MS + 60_000
    monkeypatch.setattr(session.repo, "clock", lambda: later)
    assert sorted(reconciled(session)) == [("no-job", sent["job_id"]), ("no-message", lost.job_id)]
    assert waiting_messages(session) == 2


# --- prune
def test_prune_deletes_what_is_past_its_retention_and_nothing_else(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, waiting = failed(session), session.repo.create_job("shop.charge")
    now = session.now() + 40 * 86_400_000
    recent = failed(session)
    monkeypatch.setattr(session.repo, "clock", lambda: now)
    monkeypatch.setattr(session.repo.table, "sleep", lambda _: None)
    client = session.repo.table.client()
    client.update_item(
        TableName=session.repo.table.name,
        Key={schema.KEY: attribute(recent.job_id)},
        UpdateExpression="SET expires_at = :later",
        ExpressionAttributeValues={":later": attribute(now // 1000 + 60)},
    )
    assert json.loads(run(session, "prune", "--dry-run").stdout)["deleted"] == 0
    [report] = records(run(session, "prune"))
    assert (report["seen"], report["deleted"], report["complete"]) == (1, 1, True)
    left = session.repo.table.get_many([over.job_id, waiting.job_id, recent.job_id])
    assert set(left) == {waiting.job_id, recent.job_id}
    assert left[waiting.job_id].status is JobStatus.PENDING


def test_prune_with_a_limit_says_that_it_is_not_done(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        failed(session)
    now = session.now() + 40 * 86_400_000
    monkeypatch.setattr(session.repo, "clock", lambda: now)
    monkeypatch.setattr(session.repo.table, "sleep", lambda _: None)
    result = run(session, "prune", "--limit", "2")
    assert result.exit_code == ExitCode.PARTIAL
    assert json.loads(result.stdout)["deleted"] == 2
    assert records(run(session, "prune"))[0]["deleted"] == 1


# --- completion
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(session: Session, shell: str) -> None:
    result = run(session, "completion", shell)
    assert result.exit_code == ExitCode.OK
    assert "_JOBCLAIM_COMPLETE" in result.stdout


# --- schedules, as living workers see them
def test_the_next_tick_of_every_schedule_is_shown_however_rare(session: Session) -> None:
    often = {f"often-{n}": {"task": "shop.charge", "schedule": 60.0} for n in range(3)}
    yearly = {"task": "shop.charge", "schedule": crontab(minute="0", hour="0", day_of_month="1", month_of_year="1")}
    leap = {"task": "shop.charge", "schedule": crontab(minute="0", hour="0", day_of_month="29", month_of_year="2")}
    session.app.conf.beat_schedule = {**often, "yearly": yearly, "leap": leap}
    rows = records(run(session, "schedule", "next", "-n", "7"))
    assert {row["name"] for row in rows} == {*session.app.conf.beat_schedule, "jobclaim-recovery"}
    assert [row["name"] for row in rows[-2:]] == ["yearly", "leap"]
    assert len(rows) == 7
    assert len(records(run(session, "schedule", "next", "-n", "1"))) == 6


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        ({"recovery": 0}, ["nightly"]),
        ({"recovery": 0, "default": 0}, ["nightly"]),
        ({"recovery": 0, "mail": 3_600_000}, ["nightly"]),
        ({"recovery": 0, "mail": 0}, []),
    ],
    ids=["recovery alone lives", "another queue", "its worker is dead", "its worker lives"],
)
def test_validate_live_asks_the_fleet_who_consumes_a_schedules_queue(
    session: Session, workers: dict[str, int], found: list[str]
) -> None:
    """Queue by queue: how long ago its worker was seen, milliseconds."""
    when = {"schedule": 3600.0, "options": {"queue": "mail", "expires": 60}}
    session.app.conf.beat_schedule = {"nightly": {"task": "shop.charge", **when}}
    for queue, silence in workers.items():
        seen = session.now() - silence
        FleetRecords.of(session.repo).beat(WorkerRecord(worker_id=f"w-{queue}", seen_at=seen, queues=(queue,)))
    live = run(session, "schedule", "validate", "--live", "--check-queues")
    assert [json.loads(line)["subject"] for line in live.stdout.splitlines()] == found
    assert live.exit_code == (ExitCode.CHECK_FAILED if found else ExitCode.OK)
    declared = run(session, "schedule", "validate", "--check-queues")
    assert (declared.exit_code, declared.stdout) == (ExitCode.OK, "")


def test_validate_live_says_which_worker_to_start(session: Session) -> None:
    when = {"schedule": 3600.0, "options": {"queue": "mail", "expires": 60}}
    session.app.conf.beat_schedule = {"nightly": {"task": "shop.charge", **when}}
    rows = [json.loads(line) for line in run(session, "schedule", "validate", "--live").stdout.splitlines()]
    row = next(row for row in rows if row["subject"] == "nightly")
    assert (row["check"], row["fix"]) == ("queues", "start a worker with -Q mail, or correct the queue")
