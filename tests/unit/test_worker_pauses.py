"""What a worker and beat do about a pause: what they read, what their children know, which queues are polled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import shared_task
from structlog.testing import capture_logs

from jobclaim.fleet.pauses import LONGEST_REASON, MOST, Subject, pause, unpause
from jobclaim.jobs import SKIPPED, JobStatus, StoreUnavailable, checks
from jobclaim.jobs.storage.pauses import KnownPauses, Pause, PauseKind, Pauses
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.process.pauses import PauseWatch, is_queue_paused
from jobclaim.workers.schedule.beat import JobScheduler, tick_id
from jobclaim.workers.schedule.entries import beat_schedule, entries
from jobclaim.workers.state import worker
from jobclaim.workers.transport.plan import Policy, Poll
from jobclaim.workers.transport.poller import Poller
from tests.unit.test_transport_poller import Sqs

TASK = Subject(PauseKind.TASK, "pauses.charge")
ran: list[int] = []


@shared_task(base=JobTask, bind=True, name="pauses.charge")
def charge(self: Any, number: int) -> None:
    """Note what ran."""
    ran.append(number)


@shared_task(bind=True, name="pauses.plain", claims=True)
def plain(self: Any, job_id: str) -> Any:
    """Claim in task code."""
    with self.app.jobclaim.repo.claimed(job_id) as job:
        if job is None:
            return SKIPPED
        ran.append(job.payload["number"])
    return None


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def in_worker() -> Iterator[worker.Worker]:
    """Make this process a worker's main process; its own children see the same page."""
    yield worker.begin()
    worker.end()


def stop(jobclaim: Harness, subject: Subject, **options: Any) -> Pause:
    return pause(jobclaim.repo, subject, by="ann", reason="prices are wrong", **options)


def watch(jobclaim: Harness) -> PauseWatch:
    return PauseWatch(KnownPauses.of(jobclaim.repo))


# --- both paths
def test_a_message_of_a_paused_task_is_dropped_and_its_job_waits(jobclaim: Harness) -> None:
    job_id = charge.delay(1).id
    stop(jobclaim, TASK)
    with capture_logs() as lines:
        jobclaim.drain()
    assert ran == []
    assert (jobclaim.job(job_id).status, jobclaim.job(job_id).attempt) == (JobStatus.PENDING, 0)
    (held,) = [line for line in lines if line["event"] == "claim.held"]
    assert (held["paused"], held["by"], held["job_id"]) == ("task pauses.charge", "ann", job_id)


def test_a_plain_tasks_claim_of_a_paused_job_is_skipped(jobclaim: Harness) -> None:
    job = jobclaim.repo.create_job("pauses.plain", {"number": 2})
    stop(jobclaim, Subject(PauseKind.TASK, "pauses.plain"))
    assert plain.apply(args=(job.job_id,)).get() == SKIPPED
    assert (ran, jobclaim.job(job.job_id).status) == ([], JobStatus.PENDING)


# --- the main process
def test_a_worker_knows_the_pauses_before_its_first_claim(jobclaim: Harness, in_worker: worker.Worker) -> None:
    stop(jobclaim, TASK)
    assert in_worker.pauses() == Pauses()
    with capture_logs() as lines:
        watch(jobclaim).learn()
    known = in_worker.pauses()
    assert known is not None
    assert [one.subject for one in known.known] == ["task pauses.charge"]
    assert [(line["event"], line["paused"], line["by"]) for line in lines] == [
        ("pause.started", "task pauses.charge", "ann")
    ]


def test_pauses_that_were_never_read_keep_a_worker_from_claiming(
    jobclaim: Harness, in_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(jobclaim)

    def broken() -> Pauses:
        raise StoreUnavailable("the fleet table does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(watched._known, "read", broken)
        with pytest.raises(StoreUnavailable):
            watched.learn()
    watched.learn()  # the next heartbeat


def test_heartbeats_in_one_interval_read_the_pauses_once(
    jobclaim: Harness, in_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, reads = watch(jobclaim), []

    def counted() -> Pauses:
        reads.append(1)
        return Pauses()

    monkeypatch.setattr(watched._known, "read", counted)
    for _ in range(10):  # jobs that start hurry it
        watched.learn()
    assert len(reads) == 1


def test_the_end_of_a_pause_is_logged_with_who_ended_it(jobclaim: Harness, in_worker: worker.Worker) -> None:
    stop(jobclaim, TASK)
    watched = watch(jobclaim)
    watched.learn()
    unpause(jobclaim.repo, TASK, by="bob")
    watched._known._asked_at = None
    with capture_logs() as lines:
        watched.learn()
    assert [(line["event"], line["paused"], line["by"]) for line in lines] == [
        ("pause.ended", "task pauses.charge", "bob")
    ]
    assert in_worker.pauses() is not None
    assert not in_worker.pauses().known  # type: ignore[union-attr]


def test_a_child_sees_what_its_main_process_has_read(in_worker: worker.Worker) -> None:
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writes)
        os.read(reads, 1)
        os._exit(0 if is_queue_paused("mail", 1) else 1)
    in_worker.tell_pauses(Pauses((Pause(kind="queue", name="mail", by="ann", reason="é", since=1),), 7))
    os.write(writes, b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_page_has_room_for_as_many_pauses_as_there_may_be(in_worker: worker.Worker) -> None:
    long = {"name": "\U0001f512" * checks.MAX_ID, "by": "\U0001f512" * LONGEST_REASON, "reason": '"' * LONGEST_REASON}
    known = Pauses(tuple(Pause(kind="schedule", since=10**13, until=10**13, **long) for _ in range(MOST)), 1)
    in_worker.tell_pauses(known)
    assert in_worker.pauses() == known


# --- polls
def test_a_paused_queue_is_not_polled_and_the_others_are() -> None:
    sqs, paused = Sqs(), {"mail"}
    poller = Poller(Policy(10, 0.1), sqs.ask, lambda *_: None, lambda: 100.0)
    poller.is_paused = paused.__contains__
    poller.add("mail", 9)
    poller.add("default", 5)
    poller.tick()
    assert [poll.queue for poll, _ in sqs.waiting] == ["default"]
    paused.clear()
    sqs.answer({})
    poller.tick()
    assert {poll.queue for poll, _ in sqs.waiting} >= {"mail"}


def test_a_worker_whose_only_queue_is_paused_asks_nothing_and_goes_on_after_it() -> None:
    sqs, paused = Sqs(), {"mail"}
    poller = Poller(Policy(10, 0.1), sqs.ask, lambda *_: None, lambda: 100.0)
    poller.is_paused = paused.__contains__
    poller.add("mail", 9)
    poller.tick()
    assert sqs.waiting == []
    paused.clear()
    poller.tick()
    assert [poll for poll, _ in sqs.waiting] == [Poll("mail", 1, 10)]


# --- beat
def test_a_paused_schedules_ticks_are_skipped_said_and_not_overdue(jobclaim: Harness) -> None:
    jobclaim.use(schedules={"report": {"task": "pauses.charge", "every": 30.0, "args": [1]}})
    jobclaim.app.conf.beat_schedule = entries(jobclaim.app.jobclaim.settings)
    beat = JobScheduler(jobclaim.app)
    stop(jobclaim, Subject(PauseKind.SCHEDULE, "report"), until=jobclaim.repo.clock() + 3_600_000)
    due = datetime.now(UTC)
    with capture_logs() as lines:
        assert beat._submit(beat.schedule["report"], due, due + timedelta(minutes=5)) is None
    (said,) = [line for line in lines if line["event"] == "tick.skipped"]
    assert (said["schedule"], said["by"], said["reason"]) == ("report", "ann", "prices are wrong")
    assert (jobclaim.submitted, beat._missed) == ([], [])
    later = beat.monotonic() + 100
    beat.monotonic = lambda: later
    assert beat.overdue() == []

    unpause(jobclaim.repo, Subject(PauseKind.SCHEDULE, "report"), by="bob")
    jobclaim.app.jobclaim.repo.pauses._asked_at = None
    beat._submit(beat.schedule["report"], due, due + timedelta(minutes=5))
    assert [job.job_id for job in jobclaim.submitted] == [tick_id("report", due)]


def test_recoverys_own_ticks_ask_for_no_pause(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    jobclaim.app.conf.beat_schedule = beat_schedule(jobclaim.app.jobclaim.settings)
    beat = JobScheduler(jobclaim.app)
    monkeypatch.setattr(jobclaim.app.jobclaim.repo.pauses, "current", lambda: pytest.fail("it read the pauses"))
    assert not beat._is_paused(beat.schedule["jobclaim-recovery"], datetime.now(UTC))
