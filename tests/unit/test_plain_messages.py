"""Messages that name no job: what a worker makes of one that anyone may have sent."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chord, shared_task
from celery.exceptions import InvalidTaskError
from celery.worker.request import create_request_cls
from kombu.message import Message as Wire

from jobclaim.jobs import JobNotFound, JobStatus
from jobclaim.settings import QueueSpec, TaskSpec
from jobclaim.testing import Harness
from jobclaim.testing.harness import Message
from jobclaim.workers import JobTask, create_app
from jobclaim.workers.messages import links
from jobclaim.workers.messages.message import MISADDRESSED, headers
from jobclaim.workers.process.plain_request import PlainRequest
from jobclaim.workers.results.chords import LOOK_SECONDS, job_id_of
from jobclaim.workers.schedule.entries import RECOVERY_TASK
from jobclaim.workers.telemetry import logs

RAN: list[Any] = []
QUEUES = (QueueSpec(name="default"), QueueSpec(name="mail", adopt_plain_messages=False))


@shared_task(base=JobTask, name="messages.charge")
def charge(order: int = 0) -> int:
    """Be a job."""
    RAN.append(order)
    return order


@shared_task(name="messages.plain")
def plain(order: Any = 0) -> Any:
    """Be no job."""
    RAN.append(order)
    return order


@shared_task(base=JobTask, name="messages.total")
def total(values: list[int]) -> int:
    """Be the body of a chord."""
    RAN.append(values)
    return sum(values)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def sent(jobclaim: Harness, task: str, *args: Any, queue: str = "default", task_id: str = "forged") -> None:
    """Deliver a message as plain Celery writes it."""
    jobclaim.deliver(Message(task, task_id, list(args), {}, queue, 0, {}))


def is_job(jobclaim: Harness, job_id: str = "forged") -> bool:
    try:
        return bool(jobclaim.job(job_id))
    except JobNotFound:
        return False


# --- the switch, and routes
@pytest.mark.parametrize(
    ("queue", "switch", "taken"),
    [("default", True, True), ("default", False, False), ("mail", True, False), ("mail", False, False)],
)
def test_adoption_is_switched_off_for_all_queues_or_for_one(
    jobclaim: Harness, queue: str, switch: bool, taken: bool
) -> None:
    jobclaim.use(queues=QUEUES, adopt_plain_messages=switch)
    sent(jobclaim, charge.name, 7, queue=queue)
    assert ([7] if taken else [], taken) == (RAN, is_job(jobclaim))


def test_a_queue_may_adopt_where_the_fleet_does_not(jobclaim: Harness) -> None:
    open_queue = QueueSpec(name="default", adopt_plain_messages=True)
    jobclaim.use(queues=(open_queue,), adopt_plain_messages=False)
    sent(jobclaim, charge.name, 7)
    assert RAN == [7]


def test_a_job_runs_where_plain_messages_are_refused(jobclaim: Harness) -> None:
    jobclaim.use(queues=QUEUES, adopt_plain_messages=False)
    result = charge.delay(3)
    jobclaim.drain()
    assert (RAN, jobclaim.job(result).status) == ([3], JobStatus.COMPLETED)


def test_a_task_runs_only_from_the_queue_that_its_route_names(jobclaim: Harness) -> None:
    jobclaim.use(
        queues=(QueueSpec(name="default"), QueueSpec(name="mail")), tasks={charge.name: TaskSpec(queue="mail")}
    )
    sent(jobclaim, charge.name, 7)
    assert (RAN, is_job(jobclaim)) == ([], False)
    sent(jobclaim, charge.name, 7, queue="mail")
    assert RAN == [7]


@pytest.mark.parametrize("task", [links.CHORD_TASK, links.TELL_TASK])
def test_jobclaims_own_tasks_run_only_as_jobs(jobclaim: Harness, task: str) -> None:
    sent(jobclaim, task, "x")
    assert not is_job(jobclaim)


# --- plain tasks, in the worker's main process
def received(
    task: str, args: tuple[Any, ...], queue: str, names_job: bool, headers: Any = None, **settings: Any
) -> str:
    """Take a plain task's message in a worker; give the reason of its refusal."""
    from jobclaim.settings import Settings

    app = create_app(Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail")), **settings))
    bound = app.tasks[task]
    made = app.amqp.as_task_v2("an-id", task, args, {})
    named = {"jobclaim": {"job_id": "an-id", "attempt": 0}} if names_job else {}
    message = Wire(
        body=json.dumps(made.body),
        content_type="application/json",
        content_encoding="utf-8",
        headers={**made.headers, **(headers or named)},
        delivery_info={"exchange": "", "routing_key": queue},
    )
    kind = create_request_cls(PlainRequest, bound, SimpleNamespace(apply_async=None), "vm", None, app=app)
    try:
        kind(message, app=app, task=bound, hostname="vm")
    except InvalidTaskError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("args", "queue", "names_job", "settings", "reason"),
    [
        ((7,), "default", False, {}, ""),
        ((7,), "default", False, {"adopt_plain_messages": False}, "adopt_plain_messages is off"),
        ((7,), "default", False, {"tasks": {plain.name: TaskSpec(queue="mail")}}, "belongs to queue 'mail'"),
        (("an-id",), "default", True, {"adopt_plain_messages": False}, ""),
        (("rm -rf",), "default", True, {"adopt_plain_messages": False}, "other arguments than its job's id"),
        (("an-id", 1), "default", True, {"adopt_plain_messages": False}, "other arguments than its job's id"),
        (("other",), "default", True, {}, ""),
    ],
)
def test_a_plain_tasks_message_is_refused_before_a_child_has_it(
    args: tuple[Any, ...], queue: str, names_job: bool, settings: dict[str, Any], reason: str
) -> None:
    refused = received(plain.name, args, queue, names_job, **settings)
    assert reason in refused
    assert bool(refused) == bool(reason)


def test_recoverys_task_runs_from_recoverys_queue_alone() -> None:
    assert "belongs to queue 'recovery'" in received(RECOVERY_TASK, (), "default", False)
    assert received(RECOVERY_TASK, (), "recovery", False, adopt_plain_messages=False) == ""


# --- Celery's own tasks
BUILT_IN: dict[str, list[Any]] = {
    "celery.map": [{"task": "messages.charge", "args": [], "kwargs": {}, "options": {}}, [1, 2]],
    "celery.starmap": [{"task": "messages.plain", "args": [], "kwargs": {}, "options": {}}, [[1], [2]]],
    "celery.chunks": [{"task": "messages.charge", "args": [], "kwargs": {}, "options": {}}, [[1]], 1],
    "celery.chord_unlock": ["group", {"task": "messages.charge", "args": [1], "kwargs": {}, "options": {}}],
    "celery.group": [[{"task": "messages.charge", "args": [1], "kwargs": {}, "options": {}}], "r", [], True],
    "celery.chain": [],
    "celery.accumulate": [1],
    "celery.backend_cleanup": [],
}


@pytest.mark.parametrize("task", BUILT_IN)
@pytest.mark.parametrize("names_job", [False, True])
def test_celerys_own_tasks_do_not_run_from_a_forged_message(jobclaim: Harness, task: str, names_job: bool) -> None:
    assert set(BUILT_IN) | {"celery.chord"} == {name for name in jobclaim.app.tasks if name.startswith("celery.")}
    options = {"headers": {"jobclaim": {"job_id": "forged", "attempt": 0}}} if names_job else {}
    jobclaim.deliver(Message(task, "forged", BUILT_IN[task], {}, "default", 0, options))
    jobclaim.drain()
    assert RAN == []
    assert jobclaim.submitted == []
    assert jobclaim.app.AsyncResult("forged").state == "PENDING"


def test_a_sent_starmap_runs_and_its_id_does_not_carry_other_arguments(jobclaim: Harness) -> None:
    plain.starmap([(1,), (2,)]).apply_async()
    (message,) = jobclaim.messages
    sent(jobclaim, "celery.starmap", BUILT_IN["celery.starmap"][0], [["rm"]], task_id=message.task_id)
    sent(jobclaim, "celery.map", *message.args, task_id=message.task_id)
    assert RAN == []
    jobclaim.drain()
    assert RAN == [1, 2]


# --- chords
def test_a_forged_message_does_not_start_a_chord_before_its_members_are_counted(jobclaim: Harness) -> None:
    result = chord([charge.s(1), charge.s(2)])(total.s())
    group_id = result.parent.id
    chord_job = jobclaim.job(job_id_of(group_id))
    forged = Message(chord_job.task, chord_job.job_id, [], {}, "default", 0, {"headers": headers(chord_job)})
    jobclaim.deliver(forged)
    after = jobclaim.job(chord_job)
    assert (after.status, after.attempt) == (JobStatus.PENDING, 0), "nothing of it has begun"
    jobclaim.drain()
    assert (RAN[-1], jobclaim.job(chord_job).attempt) == ([1, 2], 1)
    assert jobclaim.clock() < chord_job.created_at + LOOK_SECONDS * 1000, "its last member started it"


# --- ids that no job has
@pytest.mark.parametrize("job_id", ["", " ", "x" * 300, "a\x1fb", "\ud800", "chord\x1fx", "\x1b]0;x", 7, None])
@pytest.mark.parametrize("task", [charge.name, plain.name])
def test_an_id_that_no_job_can_have_is_refused_without_a_traceback(
    jobclaim: Harness, caplog: pytest.LogCaptureFixture, job_id: Any, task: str
) -> None:
    named = {"jobclaim": {"job_id": job_id, "attempt": 0}}
    if task == charge.name:
        jobclaim.deliver(Message(task, "forged", [1], {}, "default", 0, {"headers": named}))
        assert (RAN, is_job(jobclaim)) == ([], False)
    else:
        assert MISADDRESSED in received(task, ("x",), "default", False, headers=named)
    assert [line for line in caplog.records if line.exc_info and logs._is_of_no_job(line)] == []


@pytest.mark.parametrize("attempt", [-1, 10**20, True, "0", None, 0.5])
def test_an_attempt_that_no_job_can_have_is_refused(jobclaim: Harness, attempt: Any) -> None:
    job = jobclaim.repo.create_job(charge.name, {"args": [1], "kwargs": {}}, queue="default")
    named = {"jobclaim": {"job_id": job.job_id, "attempt": attempt}}
    jobclaim.deliver(Message(charge.name, job.job_id, [], {}, "default", 0, {"headers": named}))
    assert (RAN, jobclaim.job(job)) == ([], job)


def test_a_job_that_never_was_promises_no_recovery(jobclaim: Harness, caplog: pytest.LogCaptureFixture) -> None:
    named = {"jobclaim": {"job_id": "nobody", "attempt": 0}}
    jobclaim.deliver(Message(charge.name, "forged", [1], {}, "default", 0, {"headers": named}))
    (line,) = [record for record in caplog.records if record.name.startswith("jobclaim")]
    assert line.getMessage().startswith("claim.no_such_job")
    assert "job_id=nobody" in line.getMessage()
    assert "recovery" not in line.getMessage()
    assert not line.exc_info


@pytest.mark.parametrize("due_in_ms", [0, 30 * 86_400_000])
def test_a_plain_tasks_message_does_not_fail_the_job_that_it_names(jobclaim: Harness, due_in_ms: int) -> None:
    at = jobclaim.clock() + due_in_ms
    job = jobclaim.repo.create_job(charge.name, {"args": [1], "kwargs": {}}, queue="default", available_at=at)
    jobclaim.deliver(Message(plain.name, job.job_id, [7], {}, "default", 0, {"headers": headers(job)}))
    assert jobclaim.job(job) == job
