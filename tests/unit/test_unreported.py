"""What the main process makes of attempts whose child cannot tell, and what a cancel makes of a job in each state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from celery import signals
from celery.app.task import Context
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from jobclaim.fleet.workers import CANCEL, FleetRecords, WorkerRecord
from jobclaim.jobs import (
    ClaimLost,
    FailureKind,
    IllegalTransition,
    Job,
    JobNotFound,
    JobRepo,
    JobStatus,
    StoreUnavailable,
)
from jobclaim.jobs.protocol.claims import new_token
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.repo.claiming import NEVER_STARTED
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.cancel import Answer, cancel
from jobclaim.workers.messages.envelope import seal
from jobclaim.workers.process import active, cancels, unreported
from jobclaim.workers.process.parent import Parent
from jobclaim.workers.process.unreported import HeldAttempt
from jobclaim.workers.state import worker
from jobclaim.workers.task import JobTask
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

WORKER = "vm:1:ab"
LOST = WorkerLostError("signal 9")


def work() -> None:
    """Stand for a task's body."""


@dataclass
class World:
    """An app on an in-process DynamoDB; messages are listed instead of sent."""

    app: Any
    repo: JobRepo
    clock: ManualClock
    fleet: FleetRecords
    sent: list[tuple[str, int]] = field(default_factory=list)

    def claimed(self, **options: Any) -> tuple[Job, HeldAttempt]:
        """Write and claim a job as a child would, and give what its main process knows of it."""
        job = self.repo.create_job("t.work", **options)
        token = new_token()
        claimed = self.child().claim_job(job.job_id, attempt=0, worker_id=WORKER, token=token)
        assert claimed is not None
        return claimed, HeldAttempt(job.job_id, 0, token, self.app.tasks["t.work"])

    def child(self) -> JobRepo:
        """Give the repo of another process."""
        return JobRepo(self.repo.table.client(), settings=self.repo.settings, clock=self.clock)

    def job(self, job_id: str) -> Job:
        return self.repo.get_job(job_id)


@pytest.fixture
def world(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> World:
    settings = Settings(worker_dead_after_seconds=60)
    repo, app = model_repo(settings, clock), create_app(settings)
    app.jobclaim.use(settings, repo)
    app.task(base=JobTask, name="t.work")(work)
    app.finalize()
    made = World(app, repo, clock, FleetRecords.of(repo))
    monkeypatch.setattr(unreported, "publish_if_due", lambda _, job: made.sent.append((job.job_id, job.attempt)))
    return made


# --- lost children
def test_a_lost_job_fails_as_an_orphan_by_default(world: World) -> None:
    job, attempt = world.claimed()
    unreported.lost(world.app, attempt, LOST)
    after = world.job(job.job_id)
    assert after.status is JobStatus.FAILED
    assert after.failure is not None
    assert after.failure.kind is FailureKind.ORPHANED
    assert world.sent == []


@pytest.mark.parametrize(
    ("error", "pause", "kind"),
    [(LOST, 0, FailureKind.ORPHANED), (TimeLimitExceeded(5), 1_000, FailureKind.TIMEOUT)],
)
def test_one_that_may_run_again_does_but_not_before_its_old_body_is_dead(
    world: World, error: BaseException, pause: int, kind: FailureKind
) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=2)
    unreported.lost(world.app, attempt, error)
    after = world.job(job.job_id)
    assert (after.status, after.charged, after.available_at - world.clock()) == (JobStatus.PENDING, 1, pause)
    assert after.failure is not None
    assert after.failure.kind is kind
    assert world.sent == [(job.job_id, 1)]


def test_a_lost_child_is_of_its_own_kind_whatever_a_rule_makes_of_its_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobclaim.jobs.failures.taxonomy._kind_of", lambda *_: FailureKind.PERMANENT)
    job, attempt = world.claimed(on_orphan="retry", max_attempts=2)
    unreported.lost(world.app, attempt, LOST)
    after = world.job(job.job_id)
    assert after.failure is not None
    assert after.failure.kind is FailureKind.ORPHANED


@pytest.mark.parametrize("end", [partial(unreported.lost, error=LOST), unreported.unfinished, unreported.unanswered])
def test_a_claim_that_arrives_while_its_message_is_sent_again_is_ended(
    end: Callable[..., Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.repo.create_job("t.work", on_orphan="retry")
    attempt = HeldAttempt(job.job_id, 0, new_token(), world.app.tasks["t.work"])
    dispatch = rescue.dispatch

    def arrive_and_dispatch(repo: JobRepo, read: Job) -> Job | None:
        assert repo.claim_job(job.job_id, attempt=0, worker_id=WORKER, token=attempt.token) is not None
        return dispatch(repo, read)

    monkeypatch.setattr(rescue, "dispatch", arrive_and_dispatch)
    end(world.app, attempt)
    assert world.job(job.job_id).status is JobStatus.PENDING
    assert world.sent == [(job.job_id, 1)]


def test_the_last_attempt_is_not_tried_again(world: World) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=1)
    unreported.lost(world.app, attempt, TimeLimitExceeded(5))
    after = world.job(job.job_id)
    assert after.status is JobStatus.FAILED
    assert after.failure is not None
    assert after.failure.kind is FailureKind.TIMEOUT


def test_a_child_lost_before_its_claim_leaves_no_failure_and_the_message_is_sent_again(world: World) -> None:
    job = world.repo.create_job("t.work")
    unreported.lost(world.app, HeldAttempt(job.job_id, 0, new_token()), LOST)
    after = world.job(job.job_id)
    assert (after.status, after.attempt, after.failure, after.dispatches) == (JobStatus.PENDING, 0, None, 2)
    assert world.sent == [(job.job_id, 0)]


def test_a_message_that_keeps_killing_children_is_left_to_recovery_in_the_end(world: World) -> None:
    job = world.repo.create_job("t.work")
    for _ in range(20):
        unreported.lost(world.app, HeldAttempt(job.job_id, 0, new_token()), LOST)
    assert world.job(job.job_id).dispatches == world.app.jobclaim.settings.max_dispatches
    assert len(world.sent) == world.app.jobclaim.settings.max_dispatches - 1


def test_a_child_that_had_written_its_end_is_believed(world: World) -> None:
    job, attempt = world.claimed()
    world.child().update_status(job.job_id, "COMPLETED", result=1, token=attempt.token)
    unreported.lost(world.app, attempt, LOST)
    assert unreported.unfinished(world.app, attempt) is False
    assert unreported.cancelled(world.app, attempt, "no") is False
    assert world.job(job.job_id).status is JobStatus.COMPLETED


@pytest.mark.parametrize("on_orphan", ["fail", "retry"])
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("end", [partial(unreported.lost, error=LOST), unreported.unfinished, unreported.unanswered])
def test_the_next_attempt_is_not_touched(
    end: Callable[..., Any], world: World, on_orphan: Any, claimed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(world.app.tasks["t.work"], "on_failure", lambda *given: heard.append(given))
    job, attempt = world.claimed(on_orphan=on_orphan)
    world.child().reschedule(job.job_id, token=attempt.token)
    if claimed:
        world.child().claim_job(job.job_id, attempt=1)
    before = world.job(job.job_id)
    end(world.app, attempt)
    assert (world.job(job.job_id), world.sent, heard) == (before, [], [])


def test_a_job_that_was_cancelled_before_its_claim_is_not_sent_again(world: World) -> None:
    job = world.repo.create_job("t.work")
    assert cancel(world.repo, job.job_id) is Answer.CANCELLED
    unreported.lost(world.app, HeldAttempt(job.job_id, 0, new_token()), LOST)
    assert (world.job(job.job_id).status, world.sent) == (JobStatus.CANCELLED, [])


def test_an_outcome_that_was_handed_over_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job, attempt = world.claimed()
    monkeypatch.setattr(worker.Worker, "is_handed_over", lambda _, token: token == attempt.token)
    assert unreported.unfinished(world.app, attempt) is False
    assert unreported.cancelled(world.app, attempt, "no") is False
    assert world.job(job.job_id) == job


def test_a_claim_of_a_body_fails_without_the_tasks_hook(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.app.tasks["t.work"], "on_failure", lambda *_: pytest.fail("Celery's own task has it"))
    job, attempt = world.claimed()
    attempt = replace(attempt, task=None)
    with monkeypatch.context() as outage:
        outage.setattr(world.repo, "update_status", Mock(side_effect=StoreUnavailable("away")))
        with pytest.raises(StoreUnavailable):
            unreported.lost(world.app, attempt, LOST)
    unreported.lost(world.app, attempt, LOST)
    assert world.job(job.job_id).status is JobStatus.FAILED


def test_a_claim_without_an_answer_is_released_as_never_started(world: World) -> None:
    job, attempt = world.claimed(start_by=world.clock() + 60_000)
    unreported.unanswered(world.app, attempt)
    after = world.job(job.job_id)
    ended = after.history[-1]
    assert (after.status, after.charged, after.start_by) == (JobStatus.PENDING, 0, job.start_by)
    assert (ended.held, ended.reason) == (Held.LATE, NEVER_STARTED)
    assert world.sent == [(job.job_id, 1)]


@pytest.mark.parametrize(
    ("end", "told"),
    [(partial(unreported.lost, error=LOST), ("retry", "WorkerLostError")), (unreported.unfinished, ("release", None))],
)
def test_a_trace_shows_an_attempt_that_its_child_did_not_end(
    end: Callable[..., Any], world: World, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Mock()
    monkeypatch.setattr(unreported, "traces", traces)
    job, attempt = world.claimed(on_orphan="retry", max_attempts=2)
    end(world.app, attempt)
    [(_, (_, shown, how), given)] = traces.mock_calls
    assert (shown, (how, given.get("exception"))) == (job, told)


# --- stops
def test_a_stop_releases_without_charging(world: World) -> None:
    job, attempt = world.claimed(on_orphan="retry", max_attempts=1)
    assert unreported.unfinished(world.app, attempt)
    after = world.job(job.job_id)
    assert (after.status, after.attempt, after.charged) == (JobStatus.PENDING, 1, 0)
    assert (after.history[-1].held, after.history[-1].reason) == (Held.WORKER_STOP, "its worker was stopped")
    assert world.sent == [(job.job_id, 1)]


def test_a_stop_can_name_the_time_before_which_no_other_attempt_starts(world: World) -> None:
    job, attempt = world.claimed(on_orphan="retry")
    unreported.unfinished(world.app, attempt, available_at=world.clock() + 7_000)
    assert world.job(job.job_id).available_at == world.clock() + 7_000


@pytest.mark.parametrize(("end", "answer"), [(unreported.unfinished, True), (unreported.unanswered, None)])
def test_the_message_of_a_job_that_was_not_claimed_is_sent_again(
    end: Callable[..., Any], answer: bool | None, world: World
) -> None:
    job = world.repo.create_job("t.work")
    assert end(world.app, HeldAttempt(job.job_id, 0, new_token())) is answer
    assert world.sent == [(job.job_id, 0)]


def test_a_stop_fails_what_must_not_be_cut_and_started_again(world: World) -> None:
    job, attempt = world.claimed()
    assert unreported.unfinished(world.app, attempt)
    after = world.job(job.job_id)
    assert (after.status, world.sent) == (JobStatus.FAILED, [])
    assert after.failure is not None
    assert after.failure.kind is FailureKind.ORPHANED


# --- outages
def test_settling_goes_on_through_an_outage_and_gives_up_in_time() -> None:
    tries = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])

    def settle_it() -> str:
        if error := next(tries):
            raise error
        return "settled"

    assert unreported.persist(settle_it, until=time.monotonic() + 10) == "settled"

    def never() -> None:
        raise StoreUnavailable("away")

    assert unreported.persist(never, until=time.monotonic()) is None


def test_the_pauses_of_an_outage_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(unreported, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append))
    assert unreported.persist(Mock(side_effect=StoreUnavailable("away")), until=20) is None
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])


@pytest.mark.parametrize("error", [ClaimLost("over"), JobNotFound("j")])
def test_a_claim_that_is_over_is_no_failure(error: Exception) -> None:
    def settle_it() -> None:
        raise error

    assert unreported.persist(settle_it, until=time.monotonic() + 10) is False


@pytest.fixture
def short_outage(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many reads of jobs pass, then fail one."""

    def after(reads: int) -> None:
        read, turns = world.repo.get_job, iter(range(reads + 1))

        def get_job(job_id: str, *, large: bool = True) -> Job:
            if next(turns, None) == reads:
                raise StoreUnavailable("away")
            return read(job_id, large=large)

        monkeypatch.setattr(world.repo, "get_job", get_job)

    return after


@pytest.fixture
def in_main_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_current", [worker.Worker(shares=False)])
    worker.current().owner = Mock()


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.usefixtures("in_main_process")
def test_an_end_that_is_not_written_at_once_is_written_later(
    world: World, short_outage: Callable[[int], None], reads: int
) -> None:
    other = world.child()
    ends: dict[JobStatus, Callable[[HeldAttempt], object]] = {
        JobStatus.CANCELLED: lambda attempt: unreported.cancelled(world.app, attempt, "asked to"),
        JobStatus.FAILED: lambda attempt: unreported.unfinished(world.app, attempt),
    }
    for status, end in ends.items():
        job, attempt = world.claimed()
        short_outage(reads)
        assert unreported.persist(partial(end, attempt), until=time.monotonic() + 10) is True
        assert other.get_job(job.job_id).status is status


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_cancel_that_an_outage_cuts_in_two_is_one_cancel_and_its_links_are_told(
    world: World, short_outage: Callable[[int], None], reads: int
) -> None:
    envelope = seal({"chain": [{"task": "t.work", "args": [], "kwargs": {}, "options": {"task_id": "next"}}]})
    job, attempt = world.claimed(envelope=envelope)
    short_outage(reads)
    assert (
        unreported.persist(lambda: unreported.cancelled(world.app, attempt, "asked to"), until=time.monotonic() + 10)
        is True
    )
    assert world.repo.table.get(f"{job.job_id}.told.1") is not None


def test_a_cancel_that_was_written_already_is_told_and_holds(world: World) -> None:
    job, attempt = world.claimed()
    world.repo.update_status(job.job_id, "CANCELLED", token=attempt.token)
    assert unreported.cancelled(world.app, attempt, "asked to") is True
    assert unreported.cancelled(world.app, HeldAttempt(job.job_id, 0, new_token()), "asked to") is False


def test_a_cancel_that_another_outcome_precedes_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, attempt = world.claimed()
    monkeypatch.setattr(unreported, "record_cancelled", lambda *_, **__: None)
    assert unreported.cancelled(world.app, attempt, "asked to") is False


def test_a_cancel_sends_celerys_signal_with_the_links_of_the_job(world: World) -> None:
    heard: list[dict[str, Any]] = []
    handler = lambda **given: heard.append(given)  # noqa: E731
    job, attempt = world.claimed()
    context = Context(id=job.job_id, root_id="of the message")
    signals.task_revoked.connect(handler, sender=attempt.task)
    try:
        assert unreported.cancelled(world.app, replace(attempt, context=context), "asked to") is True
    finally:
        signals.task_revoked.disconnect(handler, sender=attempt.task)
    [given] = heard
    assert (given["request"] is context, context.root_id) == (True, job.job_id)
    assert (given["terminated"], given["signum"], given["expired"]) == (True, None, False)


# --- the users' hook, in the main process
def test_the_tasks_hook_hears_of_a_lost_job_with_the_jobs_own_arguments(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, signalled, task = list[Any](), list[dict[str, Any]](), world.app.tasks["t.work"]
    handler = lambda **given: signalled.append(given)  # noqa: E731
    monkeypatch.setattr(task, "on_failure", lambda *given: heard.append(given))
    job, attempt = world.claimed(payload={"args": [7], "kwargs": {"colour": "red"}})
    signals.task_failure.connect(handler, sender=task)
    try:
        unreported.lost(world.app, attempt, LOST)
    finally:
        signals.task_failure.disconnect(handler, sender=task)
    [(error, job_id, args, kwargs, einfo)] = heard
    assert (error, job_id, args, kwargs) == (LOST, job.job_id, [7], {"colour": "red"})
    assert "WorkerLostError" in einfo.traceback
    named = {"task_id": job_id, "exception": LOST, "args": args, "kwargs": kwargs, "traceback": None, "einfo": einfo}
    assert [given.items() >= {"sender": task, **named}.items() for given in signalled] == [True]


def test_a_hook_that_raises_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("colour")

    monkeypatch.setattr(world.app.tasks["t.work"], "on_failure", broken)
    job, attempt = world.claimed()
    assert unreported.unfinished(world.app, attempt) is True
    assert world.job(job.job_id).status is JobStatus.FAILED


# --- children that stand still
class Signals:
    """Notes what a child is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def freeze(self, _: int) -> bool:
        self.sent.append("freeze")
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda _: self.sent.append(name)


@pytest.fixture
def own_parent(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A main process whose children are noted, and whose settling breaks in a way that nobody thought of."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("not thought of")

    monkeypatch.setattr(unreported, "unfinished", broken)
    monkeypatch.setattr(unreported, "cancelled", broken)
    made = Parent(world.app, object(), None, WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    made._children = made._cancels._children = made._shutdown._children = Signals()  # type: ignore[assignment]
    return made


def holding() -> MagicMock:
    """A request whose child holds one job."""
    return MagicMock(**{"attempts.return_value": [HeldAttempt("j", 0, "t")], "job_ids.return_value": {"j"}})


def test_a_child_that_stands_still_at_the_stop_is_ended_whatever_breaks(own_parent: Any) -> None:
    with pytest.raises(RuntimeError):
        own_parent._shutdown._release_of_child(holding())
    assert own_parent._children.sent == ["freeze", "kill"]
    assert own_parent._shutdown.left_over, "recovery is not told that all is settled"


def test_a_request_that_the_recorder_has_no_room_for_is_given_back_at_the_next_look(own_parent: Any) -> None:
    held, own_parent._shutdown._recorder = holding(), MagicMock(**{"submit.side_effect": [False, True]})
    held.is_handled = False
    own_parent.release(held)
    assert held.is_handled is False
    own_parent.release(held)
    assert held.is_handled is True


def test_a_child_whose_cancel_breaks_goes_on(own_parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = holding()
    own_parent._cancels._requested[held] = {"j": "t"}
    monkeypatch.setattr(active, "requests", lambda: [held])
    with pytest.raises(RuntimeError):
        own_parent._cancels._stop(held)
    assert (own_parent._children.sent, held.is_handled) == (["freeze", "thaw"], False)


def test_a_lost_job_that_was_to_be_cancelled_is_not_tried_again_after_an_outage(
    own_parent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def away(*_: Any) -> None:
        done.append("cancelled")
        raise StoreUnavailable("away")

    monkeypatch.setattr(unreported, "cancelled", away)
    monkeypatch.setattr(unreported, "lost", lambda *_: done.append("lost"))
    monkeypatch.setattr(cancels, "SETTLE_SECONDS", 0.0)
    held = holding()
    own_parent._cancels._requested[held] = {"j": "t"}
    own_parent.lost(held, LOST)
    assert own_parent._recorder.flush(10)
    assert done == ["cancelled"]


# --- cancel
def test_a_waiting_job_is_cancelled_and_stays_so(world: World) -> None:
    job = world.repo.create_job("t.work")
    assert [cancel(world.repo, job.job_id) for _ in range(2)] == [Answer.CANCELLED] * 2
    assert world.repo.claim_job(job.job_id) is None


def test_a_running_job_is_requested_from_its_worker(world: World) -> None:
    job, attempt = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    assert cancel(world.repo, job.job_id) is Answer.REQUESTED
    [record] = world.fleet.all()
    assert record.commands == {job.job_id: CANCEL}
    assert world.job(job.job_id).status is JobStatus.PROCESSING
    assert unreported.cancelled(world.app, attempt, "asked to")
    after = world.job(job.job_id)
    assert after.status is JobStatus.CANCELLED
    assert after.failure is not None
    assert (after.failure.kind, after.failure.message) == (FailureKind.CANCELLED, "asked to")


def test_a_dead_workers_job_is_cancelled_at_once(world: World) -> None:
    job, _ = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    world.clock.advance(60)
    assert cancel(world.repo, job.job_id) is Answer.CANCELLED
    with pytest.raises(ClaimLost):
        world.repo.update_status(job.job_id, "COMPLETED")


def test_what_is_over_cannot_be_cancelled(world: World) -> None:
    job, attempt = world.claimed()
    world.repo.update_status(job.job_id, "COMPLETED", token=attempt.token)
    with pytest.raises(IllegalTransition, match="COMPLETED: it has ended"):
        cancel(world.repo, job.job_id)


def test_a_job_that_nobody_can_be_told_about_says_so(world: World) -> None:
    outside = world.repo.create_job("t.work")
    world.repo.claim_job(outside.job_id)
    with pytest.raises(IllegalTransition, match="outside a worker"):
        cancel(world.repo, outside.job_id)
    recordless, _ = world.claimed()
    with pytest.raises(IllegalTransition, match="no record in the fleet table"):
        cancel(world.repo, recordless.job_id)


def test_revoking_through_celery_answers_for_each_job(world: World) -> None:
    waiting = world.repo.create_job("t.work")
    running, _ = world.claimed()
    world.fleet.beat(WorkerRecord(worker_id=WORKER, seen_at=world.clock()))
    answers = world.app.control.revoke([waiting.job_id, running.job_id])
    assert answers == {waiting.job_id: "cancelled", running.job_id: "requested"}
    with pytest.raises(JobNotFound):
        world.app.AsyncResult("nobody").revoke()
