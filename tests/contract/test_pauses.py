"""What a pause does to claims and to recovery, and how people write it, on each store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobclaim.fleet.audit import Audit
from jobclaim.fleet.pauses import MOST, PauseRecords, Subject, pause, unpause
from jobclaim.jobs import IllegalTransition, InvalidInput, JobStatus, StoreUnavailable
from jobclaim.jobs.storage.pauses import RECORD, PauseKind, Pauses
from jobclaim.recovery.alerts import gather
from jobclaim.recovery.fleet import FleetView
from jobclaim.settings import QueueSpec
from jobclaim.specs.quotas import SQS_RETENTION
from tests.support.clock import ManualClock
from tests.support.recovery import MODEL_AND_REAL, Bench, bench_settings, store

QUEUES = (QueueSpec(name="default"), QueueSpec(name="mail"))
TASK = Subject(PauseKind.TASK, "tasks.work")
MAIL = Subject(PauseKind.QUEUE, "mail")
NIGHTLY = Subject(PauseKind.SCHEDULE, "nightly")
HOUR = 3_600
HEARTBEAT = 10


@pytest.fixture(params=MODEL_AND_REAL)
def bench(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Bench]:
    with store(request.param, request) as client:
        yield Bench(client, bench_settings(queues=QUEUES, index_shards=2), clock)


def stop(bench: Bench, subject: Subject, hours: float = 0, by: str = "ann", reason: str = "prices are wrong") -> None:
    pause(bench.repo, subject, by=by, reason=reason, until=bench.clock() + round(hours * 3_600_000) if hours else 0)


def resume(bench: Bench, subject: Subject) -> None:
    unpause(bench.repo, subject, by="bob")


def submit(bench: Bench, job_id: str, **options: Any) -> None:
    bench.new_repo().create_job("tasks.work", {"n": 1}, job_id=job_id, **options)


# --- claims
@pytest.mark.parametrize(("subject", "queue"), [(TASK, "default"), (MAIL, "mail")])
def test_a_job_of_what_is_paused_is_not_claimed_and_keeps_its_attempts(
    bench: Bench, subject: Subject, queue: str
) -> None:
    submit(bench, "j", queue=queue)
    stop(bench, subject)
    told: list[Any] = []

    assert bench.new_repo().claim_job("j", refused=told.append) is None
    assert bench.new_repo().conditional_update_status_to_processing("j")[0] is False
    with bench.new_repo().claimed("j") as held:
        assert held is None

    job = bench.repo.get_job("j")
    assert (job.status, job.attempt, job.charged, job.history) == (JobStatus.PENDING, 0, 0, ())
    assert [one.job_id for one in told] == ["j"]


def test_a_refusal_names_the_pause_only_where_the_job_would_start_without_it(bench: Bench) -> None:
    for job_id in ("waiting", "cancelled"):
        submit(bench, job_id)
    bench.repo.cancel_job("cancelled")
    stop(bench, TASK)

    with capture_logs() as lines:
        assert [bench.new_repo().claim_job(job_id) for job_id in ("waiting", "cancelled")] == [None, None]

    assert [(line["event"], line.get("paused")) for line in lines] == [
        ("claim.held", "task tasks.work"),
        ("claim.refused", None),
    ]


def test_jobs_of_other_tasks_and_queues_are_claimed_meanwhile(bench: Bench) -> None:
    stop(bench, MAIL)
    stop(bench, Subject(PauseKind.TASK, "tasks.other"))
    stop(bench, Subject(PauseKind.SCHEDULE, "tasks.work"))
    submit(bench, "j")
    assert bench.new_repo().claim_job("j") is not None


def test_a_program_learns_of_a_pause_and_of_its_end_within_a_heartbeat(bench: Bench) -> None:
    program = bench.new_repo()
    for job_id in ("a", "b", "c"):
        submit(bench, job_id)
    assert program.claim_job("a") is not None

    stop(bench, TASK)
    bench.clock.advance(HEARTBEAT)
    assert program.claim_job("b") is None

    resume(bench, TASK)
    bench.clock.advance(HEARTBEAT)
    assert program.claim_job("b") is not None


def test_a_pause_with_an_end_ends_by_itself(bench: Bench) -> None:
    submit(bench, "j")
    stop(bench, TASK, hours=2)
    assert bench.new_repo().claim_job("j") is None
    bench.clock.advance(2 * HOUR)
    assert bench.new_repo().claim_job("j") is not None
    with pytest.raises(IllegalTransition, match="is not paused"):
        resume(bench, TASK)


def test_pauses_that_cannot_be_read_leave_what_was_known(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(bench, "j")
    stop(bench, TASK)
    program = bench.new_repo()
    assert program.claim_job("j") is None

    def broken() -> Pauses:
        raise StoreUnavailable("the fleet table does not answer")

    monkeypatch.setattr(program.pauses, "read", broken)
    bench.clock.advance(HOUR)
    assert program.claim_job("j") is None


def test_a_worker_takes_what_its_polls_brought_of_a_paused_queue_but_no_job_of_a_paused_task(bench: Bench) -> None:
    """The main process stops polling; its children know the pauses from it and read nothing."""
    submit(bench, "mail", queue="mail")
    submit(bench, "other", queue="mail")
    stop(bench, MAIL)
    child = bench.new_repo()
    known = PauseRecords.of(bench.repo).read()
    child.pauses.shared = lambda: known
    assert child.claim_job("mail", attempt=0) is not None
    assert child.claim_job("other") is None  # a claim in task code, of a job that no message brought


# --- recovery
@pytest.mark.parametrize(("subject", "queue"), [(TASK, "default"), (MAIL, "mail")])
def test_recovery_neither_sends_again_nor_gives_up_what_a_pause_holds(
    bench: Bench, subject: Subject, queue: str
) -> None:
    submit(bench, "j", queue=queue)
    stop(bench, subject)
    for _ in range(40):
        bench.clock.advance(24 * HOUR)
        bench.sweep()
    job = bench.repo.get_job("j")
    assert (job.status, job.dispatches, bench.sent.messages) == (JobStatus.PENDING, 1, [])


def test_a_paused_tasks_jobs_are_sent_again_by_the_first_pass_after_it_and_once(bench: Bench) -> None:
    submit(bench, "j")
    bench.waiting["default"] = 1_000  # other tasks keep the queue busy
    stop(bench, TASK)
    bench.clock.advance(HOUR)
    assert bench.new_repo().claim_job("j") is None
    resume(bench, TASK)
    bench.clock.advance(HEARTBEAT)
    assert bench.sweep().scheduled == 0  # a worker that has not read it yet would drop the message
    bench.clock.advance(HEARTBEAT)
    assert bench.sweep().scheduled == 1
    assert bench.sweep().scheduled == 0
    assert bench.sent.messages == [("j", 0, 0.0)]
    assert bench.new_repo().claim_job("j", attempt=0) is not None


def test_a_message_that_a_worker_refused_just_after_the_pause_is_sent_again_too(bench: Bench) -> None:
    stop(bench, TASK)
    bench.clock.advance(HOUR)
    resume(bench, TASK)
    bench.clock.advance(HEARTBEAT / 2)
    submit(bench, "j")  # and its message meets a worker that reads the pauses in five seconds
    bench.clock.advance(HOUR / 60)
    assert bench.sweep().scheduled == 1


def test_a_queues_messages_outlast_its_pause_and_are_not_doubled_at_its_end(bench: Bench) -> None:
    submit(bench, "j", queue="mail")
    stop(bench, MAIL, hours=2)
    bench.clock.advance(2 * HOUR + 60)
    assert bench.sweep().redispatched == 0
    bench.clock.advance(HOUR)
    assert bench.sweep().redispatched == 1  # lost for another reason


def test_messages_that_sqs_dropped_during_a_long_pause_are_sent_again_at_its_end(bench: Bench) -> None:
    submit(bench, "j", queue="mail")
    stop(bench, MAIL)
    bench.clock.advance(SQS_RETENTION + HOUR)
    resume(bench, MAIL)
    bench.clock.advance(HEARTBEAT)
    assert bench.sweep().redispatched == 1


def test_a_job_that_may_start_only_until_a_time_expires_while_it_is_held(bench: Bench) -> None:
    submit(bench, "j", start_by=bench.clock() + 60_000)
    stop(bench, TASK)
    bench.clock.advance(HOUR)
    assert bench.sweep().expired == 1
    assert bench.status("j") is JobStatus.CANCELLED


def test_an_attempt_that_runs_when_its_task_is_paused_goes_on_and_its_orphan_is_found(bench: Bench) -> None:
    bench.claimed("j", on_orphan="retry")
    stop(bench, TASK)
    bench.clock.advance(2 * HOUR)
    assert bench.sweep().retried == 1
    assert bench.new_repo().claim_job("j") is None


def test_a_pass_that_cannot_read_the_pauses_gives_nothing_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(bench, "j")
    for _ in range(bench.settings.max_dispatches - 1):
        bench.clock.advance(24 * HOUR)
        bench.sweep()
    monkeypatch.setattr("jobclaim.recovery.sweeping._look", lambda _fleet, now: FleetView(now, known=False))
    bench.clock.advance(24 * HOUR)
    assert bench.sweep().given_up == 0
    monkeypatch.undo()
    assert bench.sweep().given_up == 1


@pytest.mark.parametrize(("subject", "queue"), [(TASK, "default"), (MAIL, "mail")])
def test_no_alert_is_raised_about_jobs_that_wait_because_of_a_pause(bench: Bench, subject: Subject, queue: str) -> None:
    submit(bench, "j", queue=queue)
    stop(bench, subject)
    bench.clock.advance(HOUR)
    assert gather(bench.new_repo()).late == {}
    resume(bench, subject)
    assert gather(bench.new_repo()).late == {queue: HOUR * 1000}


# --- people
def test_a_pause_says_who_why_and_until_when_and_is_in_the_trail(bench: Bench) -> None:
    stop(bench, TASK, hours=1, reason="wrong  prices")
    (one,) = PauseRecords.of(bench.repo).read().active(bench.clock())
    assert (one.subject, one.by, one.reason) == ("task tasks.work", "ann", "wrong prices")
    assert one.until == bench.clock() + 3_600_000
    resume(bench, TASK)
    (ended,) = PauseRecords.of(bench.repo).read().known
    assert (ended.until, ended.ended_by) == (bench.clock(), "bob")
    told = {(entry.verb, entry.what, entry.by, entry.done) for entry in Audit.of(bench.repo).entries()}
    assert told == {("pause", "task tasks.work", "ann", 1), ("unpause", "task tasks.work", "bob", 1)}


def test_a_pause_may_be_changed_and_keeps_its_beginning(bench: Bench) -> None:
    began = bench.clock()
    stop(bench, MAIL)
    bench.clock.advance(60)
    stop(bench, MAIL, hours=1, by="bob", reason="until the deploy")
    (one,) = PauseRecords.of(bench.repo).read().known
    assert (one.since, one.by, one.reason, one.until > 0) == (began, "bob", "until the deploy", True)


def test_pauses_written_at_the_same_moment_do_not_overwrite_each_other(bench: Bench) -> None:
    records = PauseRecords.of(bench.repo)
    read, others = records.read, [NIGHTLY, MAIL]

    def overtaken() -> Pauses:
        found = read()
        if others:
            stop(bench, others.pop())
        return found

    records.read = overtaken  # type: ignore[method-assign]
    made = pause(bench.repo, TASK, by="ann", reason="mine")
    records.change(lambda _: made)
    assert {one.subject for one in read().known} == {str(TASK), str(MAIL), str(NIGHTLY)}


def test_ended_pauses_are_dropped_after_a_week(bench: Bench) -> None:
    stop(bench, TASK, hours=1)
    bench.clock.advance(8 * 24 * HOUR)
    stop(bench, MAIL)
    assert [one.subject for one in PauseRecords.of(bench.repo).read().known] == [str(MAIL)]


@pytest.mark.parametrize(
    ("subject", "changes", "says"),
    [
        (Subject(PauseKind.QUEUE, "mial"), {}, "did you mean 'mail'"),
        (Subject(PauseKind.QUEUE, "recovery"), {}, "belongs to recovery"),
        (Subject(PauseKind.TASK, "jobclaim.recovery.sweep"), {}, "belongs to recovery"),
        (Subject(PauseKind.SCHEDULE, "jobclaim-recovery"), {}, "belongs to recovery"),
        (TASK, {"reason": "  "}, "reason is empty"),
        (TASK, {"reason": "x" * 300}, "at most 200"),
        (TASK, {"by": ""}, "by is empty"),
        (TASK, {"until": 1}, "in the past"),
        (Subject(PauseKind.TASK, "a\x1bb"), {}, "control character"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused_and_writes_nothing(
    bench: Bench, subject: Subject, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        pause(bench.repo, subject, **{"by": "ann", "reason": "because", **changes})
    assert RECORD not in bench.workers()


def test_so_many_pauses_are_enough(bench: Bench) -> None:
    for n in range(MOST):
        stop(bench, Subject(PauseKind.TASK, f"tasks.t{n}"))
    with pytest.raises(IllegalTransition, match="50 pauses"):
        stop(bench, TASK)
    submit(bench, "j")
    assert bench.new_repo().claim_job("j") is not None  # its condition names them all
