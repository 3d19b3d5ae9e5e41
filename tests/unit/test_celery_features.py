"""Celery's features one by one, as `docs/celery.md` has them: those that no other file of tests looks at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import chain, group, shared_task, signature
from celery.bin.celery import celery
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as ResultTimeout
from celery.result import EagerResult, GroupResult, ResultSet
from click.testing import CliRunner
from pydantic import BaseModel

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.config_values import preferred, required
from jobclaim.workers.control import NoRemoteControl
from jobclaim.workers.process.startup import override_options
from tests.support.celery_page import section


@shared_task(base=JobTask, bind=True, name="feature.add")
def add(self: Any, x: int, y: int = 0) -> int:
    """Add."""
    return x + y


@shared_task(base=JobTask, bind=True, name="feature.request")
def show(self: Any, x: int, *, y: int = 0) -> dict[str, Any]:
    """Tell of the request."""
    names: tuple[str, ...] = (
        "id",
        "task",
        "root_id",
        "parent_id",
        "group",
        "args",
        "kwargs",
        "argsrepr",
        "retries",
        "hostname",
    )
    names += ("is_eager", "called_directly", "expires", "eta", "delivery_info")
    return {name: getattr(self.request, name) for name in names} | {"job": self.request.job.job_id}


class Order(BaseModel):
    """A model."""

    number: int


@shared_task(base=JobTask, name="feature.pydantic", pydantic=True)
def typed(order: Order) -> Order:
    """Take and give a model, as Celery's own option has it."""
    return Order(number=order.number + 1)


@shared_task(base=JobTask, name="feature.throws", throws=(LookupError,))
def throws() -> None:
    """Raise what is declared."""
    raise LookupError("not there")


@shared_task(base=JobTask, bind=True, name="feature.event")
def event(self: Any) -> str:
    """Send an event that nobody hears."""
    self.send_event("task-progress", percent=50)
    return "done"


@shared_task(base=JobTask, bind=True, name="feature.grows")
def grows(self: Any) -> int:
    """Try to add a member to its own chord."""
    self.add_to_chord(add.s(10, 0))
    return 1


@shared_task(base=JobTask, name="feature.total")
def total(numbers: list[int]) -> int:
    """Sum up."""
    return sum(numbers)


def ended(harness: Harness, handle: Any) -> Any:
    """Run everything, and give the result."""
    harness.drain()
    return handle.get(timeout=5)


def celery_cli(*arguments: str) -> Any:
    """Type a command."""
    return CliRunner().invoke(celery, ["-A", "jobclaim", *arguments])


# --- ways to call
WAYS: dict[str, Any] = {
    "delay": lambda app: add.delay(1, 2),
    "apply_async": lambda app: add.apply_async((1,), {"y": 2}),
    "s": lambda app: add.s(1, 2).delay(),
    "si": lambda app: add.si(1, 2).apply_async(),
    "partial": lambda app: add.s(2).delay(1),
    "signature": lambda app: add.signature((1, 2)).delay(),
    "subtask": lambda app: add.subtask((1, 2)).delay(),
    "a signature by name": lambda app: signature("feature.add", args=(1, 2), app=app).delay(),
    "app.signature": lambda app: app.signature("feature.add", (1, 2)).delay(),
    "a signature from JSON": lambda app: signature(json.loads(json.dumps(add.s(1, 2))), app=app).delay(),
    "clone": lambda app: add.s(1).clone((2,)).delay(),
    "set": lambda app: add.s(1, 2).set(queue="default", countdown=0).delay(),
    "task.app": lambda app: app.tasks["feature.add"].delay(1, 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_call_makes_one_job(jobclaim: Harness, way: str) -> None:
    assert ended(jobclaim, WAYS[way](jobclaim.app)) == 3
    [job] = jobclaim.submitted
    assert (job.task, jobclaim.job(job).status) == ("feature.add", JobStatus.COMPLETED)


def test_send_task_is_a_plain_message_of_which_the_worker_makes_one_job(jobclaim: Harness) -> None:
    handle = jobclaim.app.send_task("feature.add", args=(1, 2))
    assert jobclaim.submitted == []
    jobclaim.deliver(jobclaim.messages[0])
    assert ended(jobclaim, handle) == 3
    assert jobclaim.job(handle.id).attempt == 1


def test_map_starmap_and_chunks_call_the_body_in_a_plain_task(jobclaim: Harness) -> None:
    assert ended(jobclaim, add.map([1, 2]).apply_async()) == [1, 2]
    assert ended(jobclaim, add.starmap([(1, 2), (3, 4)]).apply_async()) == [3, 7]
    assert ended(jobclaim, add.chunks([(1, 2), (3, 4), (5, 6)], 2).apply_async()) == [[3, 7], [11]]
    assert jobclaim.submitted == []


def test_a_direct_call_runs_the_body_here(jobclaim: Harness) -> None:
    assert add(1, 2) == add.run(1, 2) == 3
    assert jobclaim.submitted == []


def test_arguments_that_do_not_fit_raise_at_the_call(jobclaim: Harness) -> None:
    with pytest.raises(TypeError):
        add.delay(1, 2, 3)
    assert jobclaim.submitted == []


# --- the task and its request
def test_celerys_own_pydantic_option_converts_arguments_and_result(jobclaim: Harness) -> None:
    for given in ({"number": 1}, Order(number=1)):
        assert ended(jobclaim, typed.delay(given)) == {"number": 2}


def test_an_exception_of_throws_fails_the_job(jobclaim: Harness) -> None:
    handle = throws.delay()
    with pytest.raises(LookupError, match="not there"):
        ended(jobclaim, handle)


@pytest.mark.parametrize(
    "given",
    [
        {"ignore_result": True},
        {"ignore_result": True, "store_errors_even_if_ignored": True},
        {"track_started": True},
        {"store_eager_result": True},
        {"trail": False},
        {"send_events": False},
        {"resultrepr_maxsize": 3},
        {"typing": False},
        {"acks_on_failure_or_timeout": True},
        {"reject_on_worker_lost": False},
    ],
    ids=str,
)
def test_an_attribute_whose_wish_is_granted_anyway_is_accepted(jobclaim: Harness, given: dict[str, Any]) -> None:
    def body(x: int = 1) -> int:
        return x

    jobclaim.app.task(name="feature.attribute", base=JobTask, shared=False, **given)(body)
    try:
        assert ended(jobclaim, jobclaim.app.tasks["feature.attribute"].delay(5)) == 5
    finally:
        jobclaim.app.tasks.unregister("feature.attribute")


def test_the_request_is_what_celery_gives_with_the_jobs_own_arguments(jobclaim: Harness) -> None:
    handle = show.apply_async((7,), {"y": 8}, headers={"tenant": "acme"})
    told = ended(jobclaim, handle)
    same = {"id": handle.id, "root_id": handle.id, "job": handle.id, "task": "feature.request", "retries": 0}
    assert {name: told[name] for name in same} == same
    assert (told["args"], told["kwargs"]) == ([7], {"y": 8})
    assert told["argsrepr"] not in ("(7,)", "[7]")
    assert (told["is_eager"], told["called_directly"], told["expires"], told["eta"]) == (False, False, None, None)
    assert told["delivery_info"]["routing_key"] == "default"


def test_the_request_of_a_member_and_of_a_step_name_their_group_and_parent(jobclaim: Harness) -> None:
    result = group(show.si(1), show.si(2)).apply_async()
    jobclaim.drain()
    assert {told["group"] for told in result.get(timeout=5)} == {result.id}
    steps = chain(add.s(1, 2), show.si(1)).apply_async()
    told = ended(jobclaim, steps)
    assert (told["parent_id"], told["root_id"]) == (steps.parent.id, steps.parent.id)


def test_events_go_nowhere_and_harm_nothing(jobclaim: Harness) -> None:
    assert ended(jobclaim, event.delay()) == "done"


def test_a_member_is_not_added_to_a_running_chord(jobclaim: Harness) -> None:
    result = (group(grows.si(), grows.si()) | total.s()).apply_async()
    jobclaim.drain()
    member = jobclaim.app.AsyncResult(result.parent.results[0].id)
    with pytest.raises(NotImplementedError, match=r"Replace the task by a group"):
        member.get(timeout=5)


def test_periodic_tasks_of_the_hosts_own_are_scheduled(jobclaim: Harness) -> None:
    schedule = dict(jobclaim.app.conf.beat_schedule)
    try:
        jobclaim.app.add_periodic_task(30.0, add.s(1, 2), name="often")
        assert jobclaim.app.conf.beat_schedule["often"]["task"] == "feature.add"
        assert set(schedule) <= set(jobclaim.app.conf.beat_schedule)
    finally:
        jobclaim.app.conf.beat_schedule = schedule


# --- results
def test_a_result_has_celerys_attributes_and_methods(jobclaim: Harness) -> None:
    handle = add.delay(1, 2)
    assert (handle.state, handle.status, handle.ready(), handle.result) == ("PENDING", "PENDING", False, None)
    assert ended(jobclaim, handle) == handle.wait() == handle.result == handle.info == handle.get_leaf() == 3
    assert (handle.state, handle.ready(), handle.successful(), handle.failed()) == ("SUCCESS", True, True, False)
    assert (handle.id, handle.name, handle.args, handle.kwargs, handle.retries, handle.queue) == (
        handle.task_id,
        "feature.add",
        [1, 2],
        {},
        0,
        "default",
    )
    assert handle.worker
    assert handle.date_done is not None
    assert (handle.traceback, handle.children, handle.parent) == (None, [], None)
    assert handle.as_tuple() == ((handle.id, None), None)
    assert handle.as_list() == [handle.id]
    assert [value for _, value in handle.collect()] == [3]
    assert list(handle.iterdeps()) == [(None, handle)]
    assert handle in handle.build_graph()
    assert handle.maybe_throw() == 3
    handle.forget()
    assert jobclaim.app.AsyncResult(handle.id).state == "PENDING"


def test_states_and_exceptions_of_results_that_did_not_come(jobclaim: Harness) -> None:
    handle = add.apply_async((1,), countdown=60)
    with pytest.raises(ResultTimeout):
        handle.get(timeout=0.05)
    handle.revoke()
    assert (handle.state, handle.failed(), handle.ready()) == ("REVOKED", False, True)
    with pytest.raises(TaskRevokedError):
        handle.get(timeout=5)
    assert handle.get(timeout=5, propagate=False) is not None
    assert jobclaim.app.AsyncResult("nothing").state == "PENDING"


def test_callbacks_of_a_result_are_called_while_get_waits(jobclaim: Harness) -> None:
    handle, heard = add.delay(1, 2), list[Any]()
    jobclaim.drain()
    handle.then(lambda result: heard.append(result.result))
    results = ResultSet([handle], app=jobclaim.app)
    assert results.get(timeout=5, callback=lambda task_id, value: heard.append((task_id, value))) is None
    assert (handle.id, 3) in heard


def test_a_groups_result_has_celerys_methods(jobclaim: Harness) -> None:
    result = group(add.s(1, 2), add.s(3, 4)).apply_async()
    assert (result.waiting(), result.ready(), result.completed_count()) == (True, False, 0)
    jobclaim.drain()
    assert (result.waiting(), result.ready(), result.successful(), result.failed()) == (False, True, True, False)
    assert result.completed_count() == 2
    assert result.get(timeout=5) == result.join(timeout=5) == result.join_native(timeout=5) == [3, 7]
    assert sorted(meta["result"] for _, meta in result.iter_native()) == [3, 7]
    assert ResultSet(result.results, app=jobclaim.app).get(timeout=5) == [3, 7]
    assert GroupResult.restore(result.id, app=jobclaim.app) is None
    result.save()
    assert GroupResult.restore(result.id, app=jobclaim.app).get(timeout=5) == [3, 7]
    result.delete()
    assert GroupResult.restore(result.id, app=jobclaim.app) is None
    result.forget()
    assert {one.state for one in result.results} == {"PENDING"}


def test_waiting_for_a_result_in_a_task_is_refused_as_by_celery(jobclaim: Harness) -> None:
    from celery.result import allow_join_result, denied_join_result

    handle = add.delay(1, 2)
    jobclaim.drain()
    with denied_join_result(), pytest.raises(RuntimeError, match=r"Never call result\.get"):
        handle.get(timeout=5)
    with denied_join_result(), allow_join_result():
        assert handle.get(timeout=5) == 3
    with denied_join_result():
        assert handle.get(timeout=5, disable_sync_subtasks=False) == 3


def test_apply_gives_an_eager_result(jobclaim: Harness) -> None:
    handle = add.apply((1, 2))
    assert isinstance(handle, EagerResult)
    assert (handle.get(), handle.state, handle.successful()) == (3, "SUCCESS", True)


# --- configuration and options
def test_the_page_names_every_key_that_is_overridden_or_given() -> None:
    from jobclaim.settings import Settings

    page = section("Configuration") + section("Routing and queues") + section("Times and schedules")
    for key in (*required(Settings()), *preferred(Settings())):
        if key != "broker_connection_retry_on_startup":
            assert f"`{key}`" in page, key


class Typed:
    """A worker as Celery has it before its steps are made."""

    def __init__(self, app: Any, **typed: Any) -> None:
        self.app = app
        self.task_events, self.prefetch_multiplier = False, 1
        self.statedb: str | None = None
        vars(self).update(typed)


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ({"task_events": True}, "--task-events"),
        ({"statedb": "worker.state"}, "--statedb"),
        ({"prefetch_multiplier": 8}, "--prefetch-multiplier"),
        ({}, None),
    ],
)
def test_options_of_the_worker_without_effect_are_taken_back(
    jobclaim: Harness, typed: dict[str, Any], option: str | None
) -> None:
    worker = Typed(jobclaim.app, **typed)
    found = override_options(worker, jobclaim.app.jobclaim.settings)
    assert (worker.task_events, worker.statedb, worker.prefetch_multiplier) == (False, None, 1)
    assert [each["key"] for each in found] == ([option] if option else [])


# --- the command line
def test_celery_call_and_result_work_with_jobs(jobclaim: Harness) -> None:
    called = celery_cli("call", "feature.add", "--args", "[1, 2]")
    assert called.exit_code == 0, called.output
    jobclaim.drain()
    told = celery_cli("result", called.output.strip())
    assert (told.exit_code, told.output.strip()) == (0, "3")


def test_celery_list_shows_the_queues(jobclaim: Harness) -> None:
    told = celery_cli("list", "bindings")
    assert told.exit_code == 0, told.output
    assert {"default", "recovery"} <= {line.split()[0] for line in told.output.splitlines() if line}


def test_a_purge_deletes_messages_and_leaves_jobs_to_recovery(jobclaim: Harness) -> None:
    handle = add.delay(1, 2)
    jobclaim.messages.clear()  # what a purge does to a queue
    told = celery_cli("purge", "--force")
    assert told.exit_code == 0, told.output
    assert jobclaim.job(handle).status is JobStatus.PENDING
    jobclaim.travel(3_600)
    jobclaim.recover()
    assert ended(jobclaim, handle) == 3


def test_events_cannot_be_waited_for(jobclaim: Harness) -> None:
    with pytest.raises(NoRemoteControl, match="jobclaim dashboard"):
        jobclaim.app.events.Receiver(None)


# --- hooks
class Hooked(JobTask):
    """A base class with every hook."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Claim first."""
        super().before_start(task_id, args, kwargs)
        HEARD.append(("before_start", list(args)))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Hear."""
        HEARD.append(("on_success", list(args)))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hear."""
        HEARD.append(("on_failure", list(args)))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hear."""
        HEARD.append(("on_retry", list(args)))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hear."""
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        HEARD.append((f"after_return {status}", list(args)))


HEARD: list[tuple[str, list[Any]]] = []


@shared_task(base=Hooked, bind=True, name="feature.hooked", max_retries=1, default_retry_delay=0)
def hooked(self: Any, ends: str) -> None:
    """End as it is told."""
    if ends != "well":
        raise self.retry(exc=LookupError(ends))


@pytest.mark.parametrize(
    ("ends", "heard"),
    [
        ("well", ["before_start", "on_success", "after_return SUCCESS"]),
        (
            "badly",
            ["before_start", "on_retry", "before_start", "on_failure", "after_return FAILURE"],
        ),
    ],
)
def test_hooks_are_called_once_an_attempt_with_the_jobs_own_arguments(
    jobclaim: Harness, ends: str, heard: list[str]
) -> None:
    HEARD.clear()
    hooked.delay(ends)
    jobclaim.drain()
    assert [(name, [ends]) for name in heard] == HEARD
