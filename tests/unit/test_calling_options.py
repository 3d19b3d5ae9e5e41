"""Nothing that a caller says is dropped: each option of Celery's calls is honoured, or refused with a reason."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, group, shared_task

from jobclaim.jobs import IdempotencyMismatch, InvalidInput, JobError, JobStatus
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask, install
from jobclaim.workers.submission import options
from jobclaim.workers.submission.attributes import REFUSED_ATTRIBUTES
from jobclaim.workers.submission.dispatch import publish
from jobclaim.workers.time_limits import problems

PAGE = (Path(__file__).parents[2] / "docs" / "celery.md").read_text()


@shared_task(base=JobTask, bind=True, name="said.work")
def work(self: Any, tenant_id: Any, b: int = 2) -> Any:
    """Give what was passed."""
    return [tenant_id, b]


@shared_task(base=JobTask, bind=True, name="said.fair", fair_by="tenant_id", autoretry_for=(OSError,), max_retries=2)
def fair(self: Any, tenant_id: Any) -> None:
    """Fail once."""
    if self.request.retries == 0:
        raise OSError("again")


@shared_task(base=JobTask, name="said.fair_by_function", fair_by=lambda values: {"t": values["tenant_id"]})
def fair_by_function(tenant_id: Any) -> None:
    """Do nothing."""


@shared_task(
    base=JobTask, bind=True, name="said.eager_retries", autoretry_for=(OSError,), retry_kwargs={"max_retries": 5}
)
def persistent(self: Any) -> int:
    """Fail five times."""
    if self.request.retries < 5:
        raise OSError("again")
    return int(self.request.retries)


ATTRIBUTES = {"DataType": "String", "StringValue": "gold"}
HONOURED: dict[str, Any] = {
    "MessageGroupId": "tenant-7",
    "add_to_parent": False,
    "argsrepr": "('x',)",
    "countdown": 5,
    "eta": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    "expires": 10**7,
    "headers": {"trace": "t1"},
    "idempotency_key": "k",
    "ignore_result": True,
    "kwargsrepr": "{}",
    "link": None,
    "message_attributes": {"tier": ATTRIBUTES},
    "priority": None,
    "queue": "default",
    "retry": False,
    "retry_policy": {"max_retries": 1},
    "routing_key": "default",
    "serializer": "json",
    "shadow": "s",
    "soft_time_limit": 50,
    "tags": ["customer:42"],
    "time_limit": 100,
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"countdwon": 5}, "did you mean 'countdown'"),
    ({"idempotency_kee": "k"}, "did you mean 'idempotency_key'"),
    ({"queu": "default"}, "did you mean 'queue'"),
    ({"message_group_id": "a"}, "unknown option"),
    ({"concurrency_key": "b"}, "unknown option"),
    ({"priority": 5}, "queue of higher priority"),
    ({"priority": 0}, "queue of higher priority"),
    ({"serializer": "pickle"}, "stored as JSON"),
    ({"compression": "gzip"}, "JOBCLAIM_BUCKET"),
    ({"exchange": "topic"}, "no exchanges"),
    ({"routing_key": "mail.fast"}, "no routing keys"),
    ({"routing_key": "default", "queue": "recovery"}, "no routing keys"),
    ({"DelaySeconds": 5}, "use countdown"),
    ({"MessageDeduplicationId": "d"}, "FIFO queues are not supported"),
    ({"MessageAttributes": {"tier": ATTRIBUTES}}, "message_attributes"),
    ({"message_attributes": {"tier": "gold"}}, "in boto3's form"),
    ({"MessageGroupId": "two words"}, "without spaces"),
    ({"MessageGroupId": "x" * 129}, "1 to 128"),
    ({"MessageGroupId": 7}, "must be text"),
    ({"expires": 5, "countdown": 10}, "could never start"),
    ({"tags": "vip"}, "write tags=['vip']"),
    ({"tags": ["two words"]}, "write it like customer:42"),
    ({"tags": ["x" * 65]}, "1 to 64"),
    ({"tags": [7]}, "must be text"),
    ({"tags": [f"t{n}" for n in range(11)]}, "at most 10"),
    ({"expires": 10, "countdown": 10}, "could never start"),
]


@pytest.mark.parametrize("name", sorted(HONOURED))
def test_an_option_that_is_honoured_makes_a_job(jobclaim: Harness, name: str) -> None:
    handle = work.apply_async(("t",), **{name: HONOURED[name]})
    assert jobclaim.repo.get_job(handle.id).status is JobStatus.PENDING


@pytest.mark.parametrize(("said", "why"), REFUSED)
@pytest.mark.parametrize("eager", [False, True])
def test_what_would_have_no_effect_is_refused_and_nothing_is_written(
    jobclaim: Harness, said: dict[str, Any], why: str, eager: bool
) -> None:
    jobclaim.app.conf.task_always_eager = eager
    try:
        with pytest.raises(InvalidInput, match=re.escape(why)):
            work.apply_async(("t",), **said)
    finally:
        jobclaim.app.conf.task_always_eager = False
    assert not jobclaim.repo.submitted


def test_options_of_a_signature_and_of_a_batch_are_checked_too(jobclaim: Harness) -> None:
    with pytest.raises(InvalidInput, match="countdown"):
        work.s("t").set(countdwon=5).delay()
    report = work.submit_many(["a", "b"], priority=3)
    assert (report.failed, report.submitted) == (2, 0)


def test_every_named_option_of_celerys_methods_is_known() -> None:
    for method in (Task.apply_async, Celery.send_task):
        names = set(inspect.signature(method).parameters) - {"self", "name", "options", "chord"}
        assert names <= options.KNOWN, names - options.KNOWN


def test_the_page_names_every_option_and_refused_attribute() -> None:
    for name in sorted(options.KNOWN | REFUSED_ATTRIBUTES):
        assert f"`{name}`" in PAGE, name


# --- message groups and attributes
def test_groups_and_attributes_go_with_every_message_of_the_job(jobclaim: Harness) -> None:
    handle = work.apply_async(("t",), MessageGroupId="g", message_attributes={"tier": ATTRIBUTES})
    publish(jobclaim.app, jobclaim.repo.get_job(handle.id))
    for message in jobclaim.messages:
        assert message.options["MessageGroupId"] == "g"
        assert message.options["message_attributes"] == {"tier": ATTRIBUTES}


def test_fair_by_is_kept_over_retries(jobclaim: Harness) -> None:
    fair.delay("acme")
    first = jobclaim.messages[0]
    jobclaim.drain()
    (second,) = jobclaim.messages
    assert [message.options["MessageGroupId"] for message in (first, second)] == ["acme", "acme"]


@pytest.mark.parametrize("value", ["two words", "é", 7, ["a"], "x" * 200])
def test_values_that_sqs_does_not_take_are_told_apart_by_their_hash(jobclaim: Harness, value: Any) -> None:
    for task in (fair, fair_by_function):
        task.delay(value)
        task.delay("other")
    sent = [message.options["MessageGroupId"] for message in jobclaim.messages]
    assert all(options.LEGAL_GROUP.fullmatch(one) for one in sent)
    assert len(set(sent)) == 4


def test_a_call_names_a_group_of_its_own_and_no_value_names_none(jobclaim: Harness) -> None:
    fair.apply_async(("acme",), MessageGroupId="vip")
    fair.delay(None)
    assert [message.options.get("MessageGroupId") for message in jobclaim.messages] == ["vip", None]


# --- attributes
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"concurrency_key": "tenant_idd"}, "did you mean 'tenant_id'"),
    ({"fair_by": "tenant"}, "did you mean 'tenant_id'"),
    ({"base": IdempotentTask, "idempotency_key_from": ("tenant_id", "c")}, "idempotency_key_from='c'"),
    ({"base": IdempotentTask, "idempotency_scope": "user"}, "'user_id' is not an argument"),
    ({"base": IdempotentTask, "idempotency_scope": "user", "idempotency_scope_argument": "x"}, "'x' is not"),
    ({"concurency_key": "tenant_id"}, "did you mean 'concurrency_key'"),
    ({"max_retrys": 3}, "did you mean 'max_retries'"),
    ({"retry_backof": True}, "did you mean 'retry_backoff'"),
    ({"rate_limt": "5/m"}, "did you mean 'rate_limit'"),
    ({"idempotency_key": "k"}, "option of a call"),
    ({"rate_limit": "10/x"}, "rate '10/x'"),
    ({"max_retries": 10**9}, "max_retries=1000000000"),
    ({"max_retries": -1}, "max_retries=-1"),
    ({"max_retries": "3"}, "max_retries='3'"),
    ({"concurrency_key": "b", "concurrency_limit": 0}, "concurrency_limit=0"),
    ({"retry_kwargs": {"max_retires": 3}}, "did you mean 'max_retries'"),
    ({"retry_kwargs": {"max_retries": 10**9}}, "retry_kwargs: max_retries"),
    ({"priority": 3}, "queue of higher priority"),
    ({"serializer": "pickle"}, "stored as JSON"),
    ({"compression": "gzip"}, "JOBCLAIM_BUCKET"),
    ({"exchange": "e"}, "no exchanges"),
    ({"routing_key": "r"}, "no routing keys"),
    ({"delivery_mode": 1}, "delivery modes"),
    ({"reject_on_worker_lost": True}, "on_orphan decides what happens to them"),
    ({"acks_on_failure_or_timeout": False}, "deleted when the task starts"),
    ({"retry_on_worker_lost": True}, "on_orphan decides what happens to them"),
    ({"acks_on_timeout": False}, "deleted when the task starts"),
    ({"acks_on_failure": False}, "deleted when the task starts"),
    ({"backend": "redis://"}, "result are stored in the job table"),
]


@pytest.mark.parametrize(("said", "why"), FAULTS)
def test_an_attribute_that_would_have_no_effect_stops_the_call_and_the_worker(
    jobclaim: Harness, said: dict[str, Any], why: str
) -> None:
    def body(tenant_id: Any, b: int = 2) -> None: ...

    made = jobclaim.app.task(name="said.faulty", shared=False, **{"base": JobTask, **said})(body)
    try:
        with pytest.raises(JobError, match=re.escape(why)):
            made.delay("t")
        assert why in "\n".join(problems([jobclaim.app.tasks["said.faulty"]], jobclaim.app.jobclaim))
    finally:
        jobclaim.app.tasks.unregister("said.faulty")
    assert not jobclaim.repo.submitted


def test_attributes_of_a_task_that_is_not_evaluated_yet_are_seen() -> None:
    app = Celery("lazy", set_as_current=False)
    handle = install(app, Settings())

    @app.task(base=JobTask, shared=False, name="said.lazy", priority=7)
    def lazy() -> None:
        """Do nothing."""

    assert any("priority=7" in problem for problem in problems([lazy], handle))


def test_attributes_of_ones_own_and_methods_are_left_alone(jobclaim: Harness) -> None:
    class Own(JobTask):
        abstract = True
        owner = "team"
        retention_class = 3

        def on_failures(self) -> None: ...

    def body(**_: Any) -> None: ...

    made = jobclaim.app.task(
        name="said.own", base=Own, shared=False, retry_backoff=True, queue="default", tracked=1, priority=None
    )(body)
    assert problems([jobclaim.app.tasks["said.own"]], jobclaim.app.jobclaim) == []
    assert made.delay().id
    jobclaim.app.tasks.unregister("said.own")


def test_retry_kwargs_are_honoured(jobclaim: Harness) -> None:
    handle = persistent.delay()
    assert jobclaim.repo.get_job(handle.id).max_attempts == 6
    for _ in range(6):
        jobclaim.drain()
        jobclaim.travel(200)
    assert handle.get(timeout=5) == 5


# --- ids
def test_a_reused_task_id_with_other_arguments_is_refused(jobclaim: Harness) -> None:
    first = work.apply_async(("t",), task_id="chosen")
    jobclaim.drain()
    assert work.apply_async((), {"b": 2, "tenant_id": "t"}, task_id="chosen").get() == first.get()
    for args in (("u",), ("t", 3)):
        with pytest.raises(IdempotencyMismatch, match="chosen"):
            work.apply_async(args, task_id="chosen")
    assert jobclaim.repo.get_job("chosen").payload["args"] == ["t"]


def test_a_reused_job_id_with_another_payload_is_refused(jobclaim: Harness) -> None:
    repo = jobclaim.repo
    repo.create_job("t", {"a": 1, "b": float("nan")}, job_id="chosen")
    assert not repo.create_job("t", {"b": float("nan"), "a": 1}, job_id="chosen").created
    with pytest.raises(IdempotencyMismatch, match="another payload"):
        repo.create_job("t", {"a": 2}, job_id="chosen")


def test_a_frozen_member_that_is_sent_twice_is_one_job(jobclaim: Harness) -> None:
    member = work.s("t")
    member.freeze()
    for _ in range(2):
        group([member]).apply_async()
    assert len(jobclaim.repo.submitted) == 1
