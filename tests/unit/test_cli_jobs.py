"""The job commands against an embedded AWS, run in this process."""

from __future__ import annotations

import json
import os
import shlex
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import shared_task
from click.testing import CliRunner, Result

from jobclaim.cli import bulk
from jobclaim.cli.commands.submit.following import follow
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from jobclaim.fleet.audit import Audit
from jobclaim.infra import LocalAws, local_aws
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import QueueSpec
from jobclaim.workers import JobTask, create_app
from jobclaim.workers.submission import by_name
from tests.support.lent import lender

MODULE = "cli_test_tasks"


@shared_task(base=JobTask, bind=True, name="shop.charge", on_orphan="retry", max_retries=4, time_limit=77)
def charge(self: JobTask, invoice: int, *, currency: str = "EUR") -> int:
    """Stand for a user's task; no worker runs it here."""
    return invoice


@shared_task(name="shop.by_hand", claims=True)
def by_hand(job_id: str) -> None:
    """Stand for a task that makes its claim itself."""


@shared_task(name="shop.never_claims")
def never_claims(customer: str) -> str:
    """Take its argument for a customer."""
    return f"invoice to customer {customer!r}"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """One embedded AWS for all tests of this file; each test has tables and queues of its own."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("JOBCLAIM_")}
    with local_aws() as local:
        os.environ.update(saved)
        yield local


@pytest.fixture
def make_session(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Make a session on an app with its own tables, two queues and the task above, in a folder without any source."""
    monkeypatch.chdir(tmp_path)  # commands that read the project's source would read all of this repository
    monkeypatch.setitem(sys.modules, MODULE, types.ModuleType(MODULE))
    queues = (QueueSpec(name="default"), QueueSpec(name="mail"))
    with lender(aws, "cli") as lend:
        yield lambda **fields: Session(
            app=create_app(lend(**{"queues": queues, "task_modules": (MODULE,), "index_shards": 2, **fields}))
        )


@pytest.fixture
def session(make_session: Callable[..., Session]) -> Session:
    """A session on the default settings."""
    return make_session()


def run(session: Session, *arguments: str) -> Result:
    """Run a command line."""
    return CliRunner().invoke(command_line, list(arguments), obj=session, terminal_width=200)


def records(result: Result) -> list[dict[str, Any]]:
    """Read JSON lines of a command that must have succeeded."""
    assert result.exit_code == ExitCode.OK, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def failed(session: Session) -> Job:
    """Make a FAILED job."""
    job = session.repo.create_job("shop.charge", {"args": [1], "kwargs": {}})
    session.repo.claim_job(job.job_id)
    return session.repo.update_status(job.job_id, "FAILED", error="declined")


def waiting_messages(session: Session, queue: str = "default") -> int:
    """Count the messages in a queue."""
    from jobclaim.infra import resolve_queue_urls
    from jobclaim.infra.clients import sqs_client

    sqs = sqs_client(session.settings)
    url = resolve_queue_urls(session.settings, sqs)[queue]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesDelayed"])


# --- submit
def test_submit_writes_the_job_as_its_author_meant_it_and_sends_one_message(session: Session) -> None:
    [record] = records(run(session, "submit", "shop.charge", "--args", "[7]", "--kwargs", '{"currency": "USD"}'))
    job = session.repo.get_job(record["job_id"])
    assert job.payload == {"args": [7], "kwargs": {"currency": "USD"}}
    assert (job.status, job.queue, job.max_attempts, job.on_orphan) == (JobStatus.PENDING, "default", 5, "retry")
    assert job.lease_ms == (77 + 60) * 1000
    assert waiting_messages(session) == 1


def test_submit_of_a_task_that_claims_by_hand_sends_the_jobs_id_alone(session: Session) -> None:
    [record] = records(run(session, "submit", "shop.by_hand", "--kwargs", '{"path": "x"}', "--key", "x"))
    assert session.repo.get_job(record["job_id"]).payload == {"path": "x"}
    assert waiting_messages(session) == 1
    refused = run(session, "submit", "shop.by_hand", "--args", "[1]")
    assert (refused.exit_code, waiting_messages(session)) == (ExitCode.ERROR, 1)
    assert "with --kwargs" in refused.stderr


def test_submit_refuses_a_task_that_does_not_claim_and_says_what_it_would_call(session: Session) -> None:
    refused = run(session, "submit", "shop.never_claims", "--kwargs", '{"customer": "Ann"}')
    assert (refused.exit_code, waiting_messages(session)) == (ExitCode.ERROR, 0)
    assert "shop.never_claims('<the job's id>')" in " ".join(refused.stderr.split())
    assert run(session, "submit", "shop.never_claims", "--plain").exit_code != ExitCode.OK  # nobody answered
    assert waiting_messages(session) == 0
    told = run(session, "submit", "shop.never_claims", "--plain", "--yes")
    assert (told.exit_code, waiting_messages(session)) == (ExitCode.OK, 1)


def test_submit_shows_no_arguments(session: Session) -> None:
    assert "4711" not in run(session, "submit", "shop.charge", "--args", "[4711]").output


def test_an_equal_key_finds_the_first_job_and_sends_nothing(session: Session) -> None:
    arguments = ("submit", "shop.charge", "--args", "[7]", "--key", "invoice-7", "--ttl", "4h")
    [first] = records(run(session, *arguments))
    again = run(session, *arguments)
    assert records(again)[0]["job_id"] == first["job_id"]
    assert "already exists" in again.stderr
    assert waiting_messages(session) == 1
    assert session.repo.get_job(first["job_id"]).idempotency_ttl == 4 * 3600


def test_submit_to_another_queue_and_later(session: Session) -> None:
    before = session.now()
    [record] = records(run(session, "submit", "shop.charge", "--args", "[7]", "-q", "mail", "--in", "5m"))
    assert record["queue"] == "mail"
    assert before + 300_000 <= record["available_at_ms"] <= session.now() + 300_000
    assert (waiting_messages(session, "mail"), waiting_messages(session)) == (1, 0)


def test_submit_far_ahead_leaves_the_message_to_recovery(session: Session) -> None:
    [record] = records(run(session, "submit", "shop.charge", "--args", "[7]", "--in", "2h"))
    assert record["dispatches"] == 0
    assert waiting_messages(session) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("shop.chrage",), ExitCode.ERROR, "did you mean 'shop.charge'"),
        (("shop.charge",), ExitCode.ERROR, "do not fit task 'shop.charge'"),
        (("shop.charge", "--args", "[1, 2]"), ExitCode.ERROR, "do not fit"),
        (("shop.charge", "--args", "7"), ExitCode.USAGE, "wrong kind of JSON"),
        (("shop.charge", "--args", "{oops"), ExitCode.USAGE, "is not JSON"),
        (("shop.charge", "--args", "[1]", "-q", "mial"), ExitCode.ERROR, "did you mean 'mail'"),
        (
            ("shop.charge", "--args", "[1]", "--in", "1h", "--at", "2030-01-01T00:00Z"),
            ExitCode.USAGE,
            "exclude each other",
        ),
        (("shop.charge", "--args", "[1]", "--ttl", "1h"), ExitCode.ERROR, "idempotency key"),
        (("shop.charge", "--args", "[1]", "--key", "a" * 2000), ExitCode.ERROR, "2000 characters"),
    ],
)
def test_a_refused_submission_writes_nothing_and_sends_nothing(
    session: Session, arguments: tuple[str, ...], code: ExitCode, words: str
) -> None:
    result = run(session, "submit", *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert session.repo.list_jobs("PENDING").jobs == ()
    assert waiting_messages(session) == 0


def test_wait_gives_up_with_partial_while_the_job_goes_on(session: Session) -> None:
    result = run(session, "submit", "shop.charge", "--args", "[7]", "--wait", "--timeout", "300ms")
    assert result.exit_code == ExitCode.PARTIAL
    assert "Still PENDING" in result.stderr
    assert json.loads(result.stdout)["status"] == "PENDING"


# --- show
def test_show_tells_a_job_as_table_and_as_json(session: Session) -> None:
    job = failed(session)
    table = run(session, "show", job.job_id, "-o", "table").stdout
    assert "declined" in table
    assert f"jobclaim retry {job.job_id}" in " ".join(table.split())  # a narrow terminal breaks the line
    record = json.loads(run(session, "show", job.job_id, "-o", "json").stdout)
    assert (record["status"], record["failure"]["message"]) == ("FAILED", "declined")
    assert record["payload"] == {"redacted": True, "bytes": 24}


def test_show_of_an_unknown_job_exits_with_not_found(session: Session) -> None:
    result = run(session, "show", "nobody")
    assert (result.exit_code, result.stdout) == (ExitCode.NOT_FOUND, "")
    assert "'nobody'" in result.stderr


# --- list
def test_list_shows_open_jobs_by_default_and_others_by_state(session: Session) -> None:
    waiting = session.repo.create_job("shop.charge")
    running = session.repo.create_job("shop.charge")
    session.repo.claim_job(running.job_id)
    over = failed(session)
    assert [row["job_id"] for row in records(run(session, "list"))] == [running.job_id, waiting.job_id]
    assert run(session, "list", "-s", "failed", "-o", "ids").stdout == f"{over.job_id}\n"
    assert "declined" in run(session, "list", "-s", "failed", "-o", "table").stdout


def test_list_of_one_queue(session: Session) -> None:
    session.repo.create_job("shop.charge")
    mail = session.repo.create_job("shop.charge", queue="mail")
    assert [row["job_id"] for row in records(run(session, "list", "-q", "mail"))] == [mail.job_id]


def test_an_unknown_queue_is_refused_with_the_nearest(session: Session) -> None:
    result = run(session, "list", "-q", "mial")
    assert result.exit_code == ExitCode.ERROR
    assert "did you mean 'mail'" in result.stderr


def test_list_pages_by_cursor_through_everything(session: Session) -> None:
    made = {session.repo.create_job("shop.charge").job_id for _ in range(7)}
    seen: list[str] = []
    cursor: list[str] = []
    for _ in range(10):
        page = json.loads(run(session, "list", "-s", "PENDING", "-n", "3", "-o", "json", *cursor).stdout)
        seen += [row["job_id"] for row in page["items"]]
        if not page["cursors"]:
            break
        cursor = ["--cursor", page["cursors"]["PENDING"]]
    assert len(seen) == 7
    assert set(seen) == made


def test_a_cursor_needs_its_state_and_a_foreign_one_is_refused(session: Session) -> None:
    assert run(session, "list", "--cursor", "abc").exit_code == ExitCode.USAGE
    result = run(session, "list", "-s", "FAILED", "--cursor", "abc")
    assert result.exit_code == ExitCode.ERROR
    assert "cursor 'abc'" in result.stderr


def test_an_empty_list_says_so_and_succeeds(session: Session) -> None:
    result = run(session, "list", "-s", "FAILED", "-o", "table")
    assert (result.exit_code, result.stdout) == (ExitCode.OK, "")
    assert "No job is FAILED" in result.stderr


# --- retry and cancel
def test_retry_starts_a_failed_job_again_and_sends_its_message(session: Session) -> None:
    job = failed(session)
    [record] = records(run(session, "retry", job.job_id))
    assert (record["status"], record["charged"]) == ("PENDING", 0)
    assert waiting_messages(session) == 1


def test_retry_of_some_goes_on_and_exits_with_partial(session: Session) -> None:
    good, pending = failed(session), session.repo.create_job("shop.charge")
    result = run(session, "retry", pending.job_id, "nobody", good.job_id)
    assert result.exit_code == ExitCode.PARTIAL
    assert [json.loads(line)["job_id"] for line in result.stdout.splitlines()] == [good.job_id]
    assert len(result.stderr.splitlines()) == 2


def test_retry_of_an_unknown_job_exits_with_not_found(session: Session) -> None:
    assert run(session, "retry", "nobody").exit_code == ExitCode.NOT_FOUND


def test_an_interrupted_wait_names_the_job_that_runs_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow, "__kwdefaults__", {**(follow.__kwdefaults__ or {}), "sleep": press})
    result = run(session, "submit", "shop.charge", "--args", "[7]", "--wait")
    assert result.exit_code == ExitCode.INTERRUPTED
    [job] = session.repo.list_jobs("PENDING").jobs
    assert f"Interrupted: job {job.job_id} continues" in result.stderr
    assert json.loads(result.stdout)["job_id"] == job.job_id


def test_a_submission_whose_message_is_not_sent_is_in_the_trail(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(by_name, "publish_if_due", die)
    run(session, "submit", "shop.charge", "--args", "[7]")
    [job] = session.repo.list_jobs("PENDING").jobs
    [entry] = Audit.of(session.repo).entries()
    assert (entry.verb, entry.what) == ("submit", f"shop.charge {job.job_id}")


def test_retry_with_another_payload_makes_a_new_job_and_resolves_the_old_one(session: Session) -> None:
    old = failed(session)
    payload = '{"args": [8], "kwargs": {"currency": "USD"}}'
    [record] = records(run(session, "retry", old.job_id, "--payload", payload, "--resolve", "--reason", "wrong amount"))
    assert record["status"] == "PENDING"
    assert session.repo.get_job(record["job_id"]).payload == json.loads(payload)
    assert session.repo.get_job(old.job_id).dead_state == "RESOLVED"
    assert json.loads(run(session, "show", old.job_id, "-o", "json").stdout)["edited_as"] == [record["job_id"]]
    shown = json.loads(run(session, "show", record["job_id"], "-o", "json").stdout)
    assert shown["edited_from"] == old.job_id
    assert f"edited from  {old.job_id}" in run(session, "show", record["job_id"], "-o", "table").stdout
    [entry] = Audit.of(session.repo).entries()
    assert (entry.verb, entry.why, entry.what) == ("retry", "wrong amount", f"{old.job_id} with another payload")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"args": ["eight", 9], "kwargs": {}}', "do not fit task"),
        ("{", "not JSON"),
        ("@nothing.json", "cannot be read"),
        ('{"args": ["[masked]"], "kwargs": {}}', "placeholder of a hidden value"),
    ],
)
def test_a_payload_that_is_refused_changes_nothing(session: Session, payload: str, reason: str) -> None:
    old = failed(session)
    result = run(session, "retry", old.job_id, "--payload", payload)
    assert result.exit_code in (ExitCode.ERROR, ExitCode.USAGE)
    assert reason in result.stderr
    assert session.repo.get_job(old.job_id) == old
    assert session.repo.list_jobs("PENDING").jobs == ()


def test_an_edit_that_is_refused_is_edited_again_and_not_lost(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, seen = failed(session), list[str]()

    def edit(text: str, **_: str) -> str:
        seen.append(text)
        return "{ half" if len(seen) == 1 else '{"args": [9], "kwargs": {}}'

    monkeypatch.setattr("click.edit", edit)
    result = CliRunner().invoke(command_line, ["retry", old.job_id, "--edit"], obj=session, input="y\n")
    assert (result.exit_code, seen[1]) == (ExitCode.OK, "{ half")
    assert json.loads(seen[0]) == old.payload
    assert session.repo.get_job(json.loads(result.stdout)["job_id"]).payload == {"args": [9], "kwargs": {}}


def test_cancel_takes_back_a_waiting_job_and_keeps_the_reason(session: Session) -> None:
    job = session.repo.create_job("shop.charge")
    [record] = records(run(session, "cancel", job.job_id, "--reason", "sent by mistake"))
    assert (record["status"], record["failure"]["message"]) == ("CANCELLED", "sent by mistake")


def test_cancel_of_a_running_job_is_refused(session: Session) -> None:
    job = session.repo.create_job("shop.charge")
    session.repo.claim_job(job.job_id)
    result = run(session, "cancel", job.job_id)
    assert result.exit_code == ExitCode.ERROR
    assert "PROCESSING" in result.stderr
    assert session.repo.get_job(job.job_id).status is JobStatus.PROCESSING


def test_cancel_by_filter_shows_what_it_means_and_does_nothing_unless_told(session: Session) -> None:
    jobs = [session.repo.create_job("shop.charge", queue="mail") for _ in range(2)]
    other = session.repo.create_job("shop.charge")
    asked = run(session, "cancel", "--task", "shop.*", "--queue", "mail")
    assert asked.exit_code == ExitCode.ERROR, "nobody answered the question"
    assert "2 jobs to cancel:" in asked.stderr
    assert "2  PENDING     shop.charge  (queue mail)" in asked.stderr
    dry = run(session, "cancel", "-q", "mail", "--dry-run", "-o", "ids")
    assert sorted(dry.stdout.split()) == sorted(job.job_id for job in jobs)
    assert {session.repo.get_job(job.job_id).status for job in jobs} == {JobStatus.PENDING}

    [record] = records(run(session, "cancel", "-q", "mail", "--yes", "--reason", "sent twice"))

    assert (record["matched"], record["done"], record["refused"]) == (2, 2, [])
    assert {session.repo.get_job(job.job_id).status for job in jobs} == {JobStatus.CANCELLED}
    assert session.repo.get_job(other.job_id).status is JobStatus.PENDING
    [entry] = [one for one in Audit.of(session.repo).entries() if one.verb == "cancel"]
    assert (entry.done, entry.why, entry.what) == (2, "sent twice", "queue=mail state=PENDING")


@pytest.mark.parametrize(
    "arguments", [(), ("nobody", "-q", "mail"), ("--all", "-q", "mail"), ("--state", "pending"), ("nobody", "--all")]
)
def test_cancel_wants_ids_or_a_filter_or_all(session: Session, arguments: tuple[str, ...]) -> None:
    assert run(session, "cancel", *arguments).exit_code == ExitCode.USAGE


def test_an_interrupted_cancel_says_how_far_it_came_and_how_to_continue(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        session.repo.create_job("shop.charge", queue="mail")

    def press(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "print_progress", lambda _: press)
    result = run(session, "cancel", "--task", "shop.*", "--since", "1h", "--yes")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert json.loads(result.stdout)["done"] == 1
    again = shlex.split(result.stderr.partition("Continue with: ")[2])
    monkeypatch.undo()
    [record] = records(run(session, *again[1:], "--yes"))
    assert (record["matched"], record["done"]) == (2, 2)


def test_resume_gives_a_waiting_job_its_payload_and_sends_its_message(session: Session) -> None:
    job = session.repo.create_job("shop.charge")
    session.repo.claim_job(job.job_id)
    session.repo.step(job.job_id, "ask", len, "abc")
    session.repo.progress(job.job_id, 1, 2, "half")
    assert session.repo.wait_for(job.job_id, "approval") is None
    shown = run(session, "show", job.job_id, "-o", "table").stdout
    assert "Waits for approval since" in shown
    assert "[##########----------] 50% · 1 of 2 · half" in shown
    assert run(session, "resume", job.job_id, "other").exit_code == ExitCode.ERROR
    assert run(session, "resume", job.job_id, "approval", "--payload", "yes").exit_code == ExitCode.USAGE

    [record] = records(run(session, "resume", job.job_id, "approval", "--payload", '{"by": "ann"}'))

    assert (record["status"], record["waits_for"], record["dispatches"]) == ("PENDING", None, 1)
    assert session.repo.claim_job(job.job_id) is not None
    wait = session.repo.wait_for(job.job_id, "approval")
    assert wait is not None
    assert wait.payload == {"by": "ann"}


def test_retry_keeps_finished_steps_and_clears_them_where_it_is_told_to(session: Session) -> None:
    job = session.repo.create_job("shop.charge")

    def fail() -> None:
        session.repo.claim_job(job.job_id)
        session.repo.step(job.job_id, "ask", len, "abc")
        session.repo.update_status(job.job_id, "FAILED", error="no")

    fail()
    assert len(records(run(session, "retry", job.job_id))[0]["steps"]) == 1
    fail()
    assert records(run(session, "retry", job.job_id, "--clear-steps"))[0]["steps"] == []


# --- up and recover
def test_up_says_what_it_made_and_changes_nothing_twice(session: Session) -> None:
    settings = session.settings.model_copy(update={"queue_prefix": session.settings.queue_prefix + "b-"})
    other = Session(app=create_app(settings))
    first = records(run(other, "up"))
    assert {row["kind"] for row in first if row["action"] == "created"} == {"queue", "dead-letter queue"}
    second = run(other, "up", "-o", "table")
    assert second.exit_code == ExitCode.OK
    assert "0 created or changed" in second.stderr
    assert "created" not in second.stdout


def test_recover_sweeps_once_and_reports(session: Session) -> None:
    session.repo.create_job("shop.charge")
    [report] = records(run(session, "recover"))
    assert report["orphaned"] == 0
    assert "nothing to do" in run(session, "recover", "-o", "table").stdout


def test_recover_finds_an_orphan(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    job = session.repo.create_job("shop.charge", on_orphan="fail")
    session.repo.claim_job(job.job_id)
    now = session.repo.clock()
    monkeypatch.setattr(session.repo, "clock", lambda: now + 86_400_000)
    [report] = records(run(session, "recover"))
    assert report["orphaned"] == 1
    assert session.repo.get_job(job.job_id).status is JobStatus.FAILED


@pytest.mark.parametrize("every", ["0", "5ms"])
def test_recover_without_a_pause_is_refused(session: Session, every: str) -> None:
    assert run(session, "recover", "--every", every).exit_code == ExitCode.USAGE


# --- AWS that is not there
@pytest.mark.parametrize("arguments", [("list",), ("show", "a"), ("up",), ("submit", "shop.charge", "--args", "[1]")])
def test_without_an_endpoint_every_command_says_so_in_one_line(
    session: Session, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobclaim.jobs.storage.resilience.FIRST_WAIT_SECONDS", 0.001)
    nowhere = session.settings.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    result = run(Session(app=create_app(nowhere)), *arguments)
    assert result.exit_code == ExitCode.ERROR
    assert len(result.stderr.splitlines()) == 1
    assert "127.0.0.1:9" in result.stderr
