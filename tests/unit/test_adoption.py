"""What becomes of a message of plain Celery, which is all that there is of its work until it is a job."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest.mock import ANY

import pytest
from billiard.einfo import ExceptionInfo
from celery import shared_task
from celery.app.trace import trace_task_ret
from celery.exceptions import Reject, SoftTimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import create_request_cls
from kombu.message import Message

from jobclaim.jobs import InvalidPayload, JobStatus, StoreUnavailable
from jobclaim.jobs.repo.claiming import NEVER_STARTED
from jobclaim.settings import Settings
from jobclaim.workers import JobTask, create_app
from jobclaim.workers.process import intake, unreported
from jobclaim.workers.process.request import JobRequest
from jobclaim.workers.state import worker
from tests.contract.stores import LossyClient
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

DELETED, GIVEN_BACK, LEFT, DEAD_LETTER = "deleted", "given back", "left to its visibility timeout", "dead letter"
bodies: list[int] = []


@shared_task(base=JobTask, name="unit.adopted")
def adopted(value: int) -> int:
    """Run, and say so."""
    bodies.append(value)
    return 2 * value


@shared_task(base=JobTask, name="unit.adopted_rejects")
def rejects(value: int) -> None:
    """Raise what Celery's bodies may raise."""
    bodies.append(value)
    raise Reject("not today", requeue=True)


@shared_task(base=JobTask, bind=True, name="unit.adopted_retries")
def retries(self: Any, value: int) -> None:
    """Come back once more."""
    bodies.append(value)
    raise self.retry(countdown=60)


class Channel:
    """Notes what a worker does with its messages."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.reasons: list[str] = []

    def basic_ack(self, tag: str, multiple: bool = False) -> None:
        self.fates.append(DELETED)

    def basic_reject(self, tag: str, requeue: bool = False) -> None:
        self.fates.append(GIVEN_BACK if requeue else "rejected")

    def leave(self, tag: str) -> None:
        self.fates.append(LEFT)

    def poisoned(self, message: Any, reason: str) -> None:
        self.fates.append(DEAD_LETTER)
        self.reasons.append(reason)


class Pool:
    """A pool of one child that is the test itself."""

    def apply_async(self, trace: Any, args: Any, **callbacks: Any) -> None:
        self.trace, self.args, self.told = trace, args, callbacks

    def accept(self) -> None:
        self.told["accept_callback"](1, 0.0)

    def run(self) -> None:
        """Let the child do its work and answer."""
        self.told["callback"](self.trace(*self.args))

    def lose(self) -> None:
        """Let the child die before it has answered."""
        try:
            raise WorkerLostError("signal 9")
        except WorkerLostError:
            self.told["error_callback"](ExceptionInfo())


class World:
    """A worker's main process with one message in hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
        settings = Settings()
        self.app = create_app(settings)
        self.repo = model_repo(settings, clock)
        self.app.jobclaim.use(settings, self.repo)
        self.sent: list[str] = []
        monkeypatch.setattr(self.app, "send_task", lambda name, **options: self.sent.append(options["task_id"]))
        self.owner = Owner()
        monkeypatch.setattr(worker, "_current", [worker.Worker(shares=False)])
        worker.current().owner = cast("worker.Owner", self.owner)
        self.channel, self.pool = Channel(), Pool()

    def deliver(self, task: Any, value: int = 1, headers: dict[str, Any] | None = None, known: str = "") -> JobRequest:
        """Take a message, up to the moment when a child has it."""
        bound, task_id = self.app.tasks[task.name], known or secrets.token_hex(8)
        sent = self.app.amqp.as_task_v2(task_id, task.name, (value,), {})
        message = Message(
            body=json.dumps(sent.body),
            content_type="application/json",
            content_encoding="utf-8",
            headers={**sent.headers, **(headers or {})},
            delivery_tag=f"receipt of {task_id}",
            channel=self.channel,
        )
        trace: Callable[..., Any] = lambda *args: trace_task_ret(*args, app=self.app)  # noqa: E731
        kind = create_request_cls(JobRequest, bound, self.pool, "vm", None, trace=trace, app=self.app)
        made: JobRequest = kind(
            message,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
            app=self.app,
            task=bound,
            hostname="vm",
        )
        made.execute_using_pool(self.pool)
        self.pool.accept()
        return made


class Owner:
    """Hears what `jobclaim.workers.process.parent.Parent` hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self) -> None:
        self.heard.append("started")

    def unanswered(self, made: JobRequest) -> None:
        self.heard.append("unanswered")

    def retried(self, made: JobRequest) -> None:
        self.heard.append("retried")

    def lost(self, made: JobRequest, error: BaseException) -> None:
        self.heard.append("lost")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Iterator[World]:
    bodies.clear()
    yield World(monkeypatch, clock)
    state.active_requests.clear()
    state.reserved_requests.clear()


def fail_with(error: Exception) -> Callable[..., Any]:
    def create_job(*_: Any, **__: Any) -> Any:
        raise error

    return create_job


# --- it becomes a job
def test_a_plain_message_is_deleted_only_when_its_child_has_answered(world: World) -> None:
    made = world.deliver(adopted, 21)
    assert world.channel.fates == []
    world.pool.run()
    assert world.channel.fates == [DELETED]
    job = world.repo.get_job(made.id)
    assert (job.status, job.result, bodies) == (JobStatus.COMPLETED, 42, [21])


def test_a_jobs_message_is_deleted_when_a_child_has_it(world: World) -> None:
    job = world.repo.create_job(adopted.name, {"args": [1], "kwargs": {}})
    world.deliver(adopted, headers={"jobclaim": {"job_id": job.job_id, "attempt": 0}})
    assert world.channel.fates == [DELETED]
    assert world.pool.args[3:] == ([[1], {}, ANY], None, None), "the child need not decode it again"
    world.pool.run()
    world.pool.lose()
    assert world.channel.fates == [DELETED]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_claim_that_had_no_answer_is_told_and_its_job_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    job = world.repo.create_job(adopted.name, {"args": [1], "kwargs": {}})
    made = world.deliver(adopted, headers={"jobclaim": {"job_id": job.job_id, "attempt": 0}})
    line = LossyClient(world.repo.table.client(), arrives=arrives, times=3)
    with monkeypatch.context() as bad:
        bad.setattr(world.repo.table, "client", lambda: line)
        world.pool.run()
    assert (world.owner.heard, bodies) == (["started", "unanswered"], [])
    assert world.repo.get_job(job.job_id).status is (JobStatus.PROCESSING if arrives else JobStatus.PENDING)
    messages: list[Any] = []
    monkeypatch.setattr(unreported, "publish_if_due", lambda app, after: messages.append(after))

    unreported.unanswered(world.app, made.attempts()[0])

    after = world.repo.get_job(job.job_id)
    assert messages == [after]
    assert (after.status, after.attempt, after.charged) == (JobStatus.PENDING, int(arrives), 0)
    assert [entry.reason for entry in after.history] == [NEVER_STARTED] * arrives


def test_a_job_whose_claim_is_not_requested_while_heartbeats_fail_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.repo.create_job(adopted.name, {"args": [1], "kwargs": {}})
    world.deliver(adopted, headers={"jobclaim": {"job_id": job.job_id, "attempt": 0}})
    monkeypatch.setattr(worker.Worker, "may_claim", lambda _: False)
    world.pool.run()
    assert (world.channel.fates, world.owner.heard, bodies) == ([DELETED], ["started", "unanswered"], [])


def test_a_claim_that_was_refused_is_no_news(world: World) -> None:
    job = world.repo.create_job(adopted.name, {"args": [1], "kwargs": {}})
    world.deliver(adopted, headers={"jobclaim": {"job_id": job.job_id, "attempt": 7}})
    world.pool.run()
    assert (world.owner.heard, bodies) == (["started"], [])


@pytest.mark.parametrize(("task", "status"), [(rejects, JobStatus.PENDING), (retries, JobStatus.PENDING)])
def test_it_is_deleted_however_its_body_ends(world: World, task: Any, status: JobStatus) -> None:
    made = world.deliver(task)
    world.pool.run()
    assert world.channel.fates == [DELETED]
    assert world.repo.get_job(made.id).status is status


def test_a_copy_of_it_finds_the_job_and_is_deleted(world: World) -> None:
    first = world.deliver(adopted)
    world.pool.run()
    world.deliver(adopted, known=str(first.id))
    world.pool.run()
    assert world.channel.fates == [DELETED, DELETED]
    assert bodies == [1]


# --- it is no job yet
@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), OSError("no memory"), SoftTimeLimitExceeded()])
def test_while_no_job_can_be_written_the_message_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = world.deliver(adopted)
    with monkeypatch.context() as away:
        away.setattr(world.repo, "create_job", fail_with(error))
        world.pool.run()
    assert (world.channel.fates, bodies) == ([LEFT], [])
    world.deliver(adopted, known=str(made.id))
    world.pool.run()
    assert (world.channel.fates, bodies) == ([LEFT, DELETED], [1])


def test_a_worker_whose_heartbeats_fail_gives_it_to_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deliver(adopted)
    monkeypatch.setattr(worker.Worker, "may_claim", lambda _: False)
    world.pool.run()
    assert (world.channel.fates, bodies) == ([GIVEN_BACK], [])


def test_what_can_never_be_a_job_becomes_a_dead_letter_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.repo, "create_job", fail_with(InvalidPayload("NaN is no JSON")))
    world.deliver(adopted)
    world.pool.run()
    assert world.channel.fates == [DEAD_LETTER]
    assert world.channel.reasons == ["it cannot become a job: NaN is no JSON"]


def test_the_text_of_somebody_elses_error_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.repo, "create_job", fail_with(TypeError("cannot store 'secret'")))
    world.deliver(adopted)
    world.pool.run()
    assert world.channel.reasons == ["it cannot become a job: TypeError"]


# --- its child is gone
def test_the_message_of_a_killed_child_comes_back(world: World) -> None:
    world.deliver(adopted)
    world.pool.lose()
    assert (world.channel.fates, world.owner.heard) == ([LEFT], ["started", "lost"])


def test_the_message_of_a_child_over_its_hard_limit_comes_back(world: World) -> None:
    made = world.deliver(adopted)
    made.on_timeout(False, 60)
    assert (world.channel.fates, world.owner.heard) == ([LEFT], ["started", "lost"])


def test_the_message_of_a_child_killed_at_a_stop_comes_back(world: World) -> None:
    made = world.deliver(adopted)
    made.is_handled = True  # the worker gives the attempt back itself
    world.pool.lose()
    assert (world.channel.fates, world.owner.heard) == ([LEFT], ["started"])


def test_a_message_that_is_kept_while_its_job_runs_takes_one_place(world: World) -> None:
    world.deliver(adopted)
    assert intake._started() == 0, "the channel counts its message"
    job = world.repo.create_job(adopted.name, {"args": [1], "kwargs": {}})
    kept = world.deliver(adopted, headers={"jobclaim": {"job_id": job.job_id, "attempt": 0}})
    assert kept.acknowledged
    assert intake._started() == 1
