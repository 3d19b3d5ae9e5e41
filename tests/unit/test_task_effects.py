"""``self.effects`` and ``jobclaim.transaction()`` in tasks: what is made, what is dropped, what follows."""

from __future__ import annotations

import asyncio
import contextvars
import pickle
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from celery import chain, chord, shared_task

import jobclaim
from jobclaim.jobs import (
    AlreadySubmitted,
    EffectRefused,
    FailureKind,
    IdempotencyMismatch,
    InvalidEffect,
    InvalidInput,
    JobNotFound,
    JobStatus,
    RetryPolicy,
    RetryRule,
)
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask

TABLE = "ledger"
ran: list[Any] = []
plans: dict[str, Callable[[Any], Any]] = {}


def put(name: str, **more: Any) -> dict[str, Any]:
    return {"TableName": TABLE, "Item": {"id": name}, "ConditionExpression": "attribute_not_exists(id)", **more}


@shared_task(base=JobTask, bind=True, name="effects.work", on_orphan="retry", max_retries=2)
def work(self: Any, plan: str = "put") -> Any:
    """Do what the test planned."""
    ran.append(self.request.job.attempt)
    return plans[plan](self)


@shared_task(base=JobTask, bind=True, name="effects.stubborn", autoretry_for=(EffectRefused,), retry_backoff=False)
def stubborn(self: Any) -> None:
    """Be retried by Celery's own rule."""
    ran.append(self.request.job.attempt)
    self.effects.put(**put("taken"))


class ByRule(JobTask):
    """Retried by rule."""

    abstract = True
    retry_policy = RetryPolicy(
        max_attempts=3, base=1, rules=(RetryRule((EffectRefused,), RetryPolicy(base=5, full_jitter=False)),)
    )
    failure_kinds: ClassVar[Any] = {EffectRefused: "TRANSIENT"}


@shared_task(base=ByRule, bind=True, name="effects.by_rule")
def by_rule(self: Any) -> None:
    """Be retried by jobclaim's rule."""
    ran.append(self.request.job.attempt)
    self.effects.put(**put("taken"))


@shared_task(base=JobTask, bind=True, name="effects.next")
def following(self: Any, *given: Any) -> Any:
    """Follow."""
    ran.append(("followed", list(given)))
    return given[0] if given else None


@shared_task(base=IdempotentTask, bind=True, name="effects.order", idempotency_ttl=60)
def order(self: Any, order_id: str) -> str:
    """Process an order once."""
    ran.append(order_id)
    return f"order {order_id}"


@pytest.fixture(autouse=True)
def _table(jobclaim: Harness) -> None:
    ran.clear()
    plans.clear()
    plans["put"] = lambda task: task.effects.put(**put("one"))
    jobclaim.repo.table.client().create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def ledger(harness: Harness) -> set[str]:
    return {item["id"]["S"] for item in harness.repo.table.client().scan(TableName=TABLE)["Items"]}


# --- effects
def test_effects_are_made_with_the_completion(jobclaim: Harness) -> None:
    result = work.delay()
    jobclaim.drain()

    assert (jobclaim.job(result).status, ledger(jobclaim)) == (JobStatus.COMPLETED, {"one"})
    assert jobclaim.job(result).effects.startswith("1:")


def fail(task: Any) -> None:
    task.effects.put(**put("one"))
    raise LookupError("no")


def again(task: Any) -> None:
    task.effects.put(**put(f"attempt {task.request.job.attempt}"))
    if task.request.job.attempt == 1:
        raise task.retry(countdown=0)


def snooze(task: Any) -> None:
    task.effects.put(**put(f"attempt {task.request.job.attempt}"))
    if task.request.job.attempt == 1:
        task.snooze(0)


@pytest.mark.parametrize(("plan", "made"), [(fail, set()), (again, {"attempt 2"}), (snooze, {"attempt 2"})])
def test_effects_of_an_attempt_that_did_not_complete_are_dropped(
    jobclaim: Harness, plan: Callable[[Any], Any], made: set[str]
) -> None:
    plans["put"] = plan
    work.delay()
    jobclaim.drain()
    jobclaim.travel(60)
    jobclaim.drain()

    assert ledger(jobclaim) == made


def test_a_refused_effect_fails_the_job_and_names_the_item(jobclaim: Harness) -> None:
    plans["twice"] = lambda task: task.effects.put(**put("one"))
    first, second = work.delay(), work.delay("twice")
    jobclaim.drain()

    failed = jobclaim.job(second)
    assert jobclaim.job(first).status is JobStatus.COMPLETED
    assert failed.status is JobStatus.FAILED
    assert failed.failure is not None
    assert failed.failure.exception.endswith("EffectRefused")
    assert failed.failure.kind is FailureKind.PERMANENT
    assert "'id': 'one'" in failed.failure.message
    assert "'ledger'" in failed.failure.message
    with pytest.raises(Exception, match="condition did not hold"):
        second.get(timeout=1)


@pytest.mark.parametrize(("task", "wait"), [(stubborn, 181), (by_rule, 6)])
def test_a_refused_effect_is_retried_by_rule(jobclaim: Harness, task: Any, wait: int) -> None:
    client = jobclaim.repo.table.client()
    client.put_item(TableName=TABLE, Item={"id": {"S": "taken"}})
    result = task.delay()
    jobclaim.drain()
    assert jobclaim.job(result).status is JobStatus.PENDING

    client.delete_item(TableName=TABLE, Key={"id": {"S": "taken"}})
    jobclaim.travel(wait)
    jobclaim.drain()

    assert ran == [1, 2]
    assert jobclaim.job(result).status is JobStatus.COMPLETED
    assert ledger(jobclaim) == {"taken"}


def test_the_kind_of_a_refusal_is_the_tasks_to_say(jobclaim: Harness) -> None:
    jobclaim.repo.table.client().put_item(TableName=TABLE, Item={"id": {"S": "taken"}})
    result = by_rule.delay()
    for _ in range(3):
        jobclaim.drain()
        jobclaim.travel(6)

    failure = jobclaim.job(result).failure
    assert failure is not None
    assert failure.kind is FailureKind.TRANSIENT


def test_a_zombies_effects_are_dropped(jobclaim: Harness) -> None:
    def lose(task: Any) -> None:
        job = task.request.job
        task.effects.put(**put(f"attempt {job.attempt}"))
        if job.attempt == 1:
            jobclaim.travel(7200)
            jobclaim.recover()

    plans["put"] = lose
    result = work.delay()
    jobclaim.drain()

    assert ledger(jobclaim) == {"attempt 2"}
    assert jobclaim.job(result).attempt == 2


def test_what_follows_a_job_with_effects_is_sent_after_it_by_a_job_written_with_it(jobclaim: Harness) -> None:
    plans["put"] = lambda task: (task.effects.put(**put("one")), 7)[1]
    result = chain(work.s(), following.s())()
    jobclaim.drain()

    assert ran == [1, ("followed", [7])]
    assert result.get(timeout=1) == 7


def test_a_process_that_dies_after_the_commit_loses_nothing_that_follows(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobclaim.workers.attempt import effects as module

    def die(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(module, "publish_if_due", die)
    result = work.apply_async(link=following.s())
    with pytest.raises(SystemExit):
        jobclaim.drain()
    monkeypatch.undo()
    assert jobclaim.job(result).status is JobStatus.COMPLETED
    assert not jobclaim.messages

    jobclaim.travel(40)
    assert jobclaim.recover().redispatched == 1
    jobclaim.drain()
    assert ran == [1, ("followed", [None])]


def test_nothing_follows_a_refused_effect(jobclaim: Harness) -> None:
    jobclaim.repo.table.client().put_item(TableName=TABLE, Item={"id": {"S": "one"}})
    work.apply_async(link=following.s())
    jobclaim.drain()

    assert ran == [1]


def test_a_chord_of_jobs_with_effects_comes_together(jobclaim: Harness) -> None:
    plans["a"] = lambda task: (task.effects.put(**put("a")), 1)[1]
    plans["b"] = lambda task: (task.effects.put(**put("b")), 2)[1]
    result = chord([work.s("a"), work.s("b")], following.s())()
    for _ in range(3):
        jobclaim.drain()
        jobclaim.travel(30)
    jobclaim.drain()

    assert ledger(jobclaim) == {"a", "b"}
    assert result.get(timeout=1) == [1, 2]


def test_a_job_that_hands_its_work_over_has_no_completion_for_effects(jobclaim: Harness) -> None:
    def hand_over(task: Any) -> None:
        task.effects.put(**put("one"))
        task.replace(following.s(1))

    plans["put"] = hand_over
    result = work.delay()
    jobclaim.drain()

    failure = jobclaim.job(result).failure
    assert failure is not None
    assert "passes the work" in failure.message
    assert not ledger(jobclaim)


def test_a_result_that_cannot_be_stored_makes_no_effect(jobclaim: Harness) -> None:
    plans["put"] = lambda task: (task.effects.put(**put("one")), {1})[1]
    result = work.delay()
    jobclaim.drain()

    assert jobclaim.job(result).status is JobStatus.FAILED
    assert not ledger(jobclaim)


def test_threads_of_a_body_collect_in_a_copy_of_its_context(jobclaim: Harness) -> None:
    def in_threads(task: Any) -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: task.effects.put(**put("from a thread")),))
        thread.start()
        thread.join()

    plans["put"] = in_threads
    work.delay()
    jobclaim.drain()

    assert ledger(jobclaim) == {"from a thread"}


def test_two_attempts_of_one_task_at_once_keep_their_effects_apart(jobclaim: Harness) -> None:
    """As in a pool of threads: one task object, two messages."""
    both = threading.Barrier(2)

    def slow(name: str) -> Callable[[Any], None]:
        def plan(task: Any) -> None:
            task.effects.put(**put(name))
            both.wait(10)
            assert len(task.effects) == 1

        return plan

    plans.update({name: slow(name) for name in ("left", "right")})
    left, right = work.delay("left"), work.delay("right")
    messages = [jobclaim.messages.popleft(), jobclaim.messages.popleft()]
    threads = [threading.Thread(target=jobclaim.deliver, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {jobclaim.job(one).status for one in (left, right)} == {JobStatus.COMPLETED}
    assert ledger(jobclaim) == {"left", "right"}


def test_an_eager_call_makes_its_effects_when_it_succeeds(jobclaim: Harness) -> None:
    @shared_task(base=JobTask, bind=True, name="effects.eager")
    def eager(self: Any, *, well: bool) -> None:
        self.effects.put(**put(f"well={well}"))
        if not well:
            raise LookupError

    assert eager.apply(kwargs={"well": True}).successful()
    assert eager.apply(kwargs={"well": False}).failed()
    again = eager.apply(kwargs={"well": True})

    assert ledger(jobclaim) == {"well=True"}
    assert isinstance(again.result, EffectRefused)


def test_an_eager_call_in_a_body_has_effects_of_its_own(jobclaim: Harness) -> None:
    @shared_task(base=JobTask, bind=True, name="effects.inner")
    def inner(self: Any) -> None:
        self.effects.put(**put("inner"))

    def outer(task: Any) -> None:
        task.effects.put(**put("outer"))
        inner.apply()
        assert ledger(jobclaim) == {"inner"}

    plans["put"] = outer
    work.delay()
    jobclaim.drain()

    assert ledger(jobclaim) == {"inner", "outer"}


def test_a_direct_call_says_that_there_is_no_completion(jobclaim: Harness) -> None:
    with pytest.raises(InvalidEffect, match="there is no attempt here"):
        following.effects.put(**put("one"))


def test_a_refusal_survives_the_way_to_another_process() -> None:
    error = EffectRefused("no", table="t", key={"id": "1"}, operation="Put", index=3, reason="ConditionalCheckFailed")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here

    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_job_without_effects_makes_the_requests_that_it_made_before(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = jobclaim.repo.table.client()
    monkeypatch.setattr(client, "transact_write_items", lambda **_: pytest.fail("a transaction was made"))
    result = following.delay(1)
    jobclaim.drain()

    assert result.get(timeout=1) == 1


# --- transactions
def test_the_order_and_its_job_are_written_together(jobclaim: Harness) -> None:
    with pytest.raises(LookupError), jobclaim_transaction() as tx:
        fail_in(tx)
    assert not ledger(jobclaim)
    assert not jobclaim.messages

    with jobclaim_transaction() as tx:
        tx.put(**put("order 7"))
        result = tx.submit(following, 7)
        with pytest.raises(JobNotFound):
            jobclaim.job(result)
        assert not jobclaim.messages
    assert ledger(jobclaim) == {"order 7"}
    jobclaim.drain()
    assert result.get(timeout=1) == 7


def test_a_refused_write_submits_nothing(jobclaim: Harness) -> None:
    def submit() -> None:
        with jobclaim_transaction() as tx:
            tx.put(**put("order 7"))
            tx.submit(following, 7)

    submit()
    with pytest.raises(EffectRefused) as refused:
        submit()

    assert refused.value.key == {"id": "order 7"}
    assert len(jobclaim.messages) == 1
    assert len(jobclaim.repo.table.client().scan(TableName=jobclaim.repo.table.name)["Items"]) == 1


def test_a_transaction_refuses_an_id_of_a_call_with_other_arguments_as_that_call_by_itself(jobclaim: Harness) -> None:
    def submit(plan: str) -> None:
        with jobclaim_transaction() as tx:
            tx.apply_async(work, [plan], task_id="chosen")

    submit("put")
    with pytest.raises(IdempotencyMismatch, match="task_id 'chosen'"):
        submit("other")
    with pytest.raises(AlreadySubmitted):
        submit("put")


def test_an_equal_order_is_refused_and_its_writes_are_not_made_again(jobclaim: Harness) -> None:
    def submit(name: str) -> Any:
        with jobclaim_transaction() as tx:
            tx.update(
                TableName=TABLE,
                Key={"id": name},
                UpdateExpression="ADD orders :one",
                ExpressionAttributeValues={":one": 1},
            )
            return tx.submit(order, "7")

    first = submit("count")
    with pytest.raises(AlreadySubmitted, match="already submitted under the same key") as again:
        submit("count")
    assert [job.job_id for job in again.value.jobs] == [first.id]
    jobclaim.drain()
    assert ran == ["7"]

    jobclaim.travel(61)
    later = submit("count")
    jobclaim.drain()
    assert (later.id, ran) == (first.id, ["7", "7"])
    (item,) = jobclaim.repo.table.client().scan(TableName=TABLE)["Items"]
    assert item["orders"]["N"] == "2"


def test_many_jobs_go_into_one_transaction_and_a_hundred_operations_are_its_most(jobclaim: Harness) -> None:
    with jobclaim_transaction() as tx:
        for number in range(5):
            tx.submit(following, number)
        for number in range(95):
            tx.put(TableName=TABLE, Item={"id": str(number)})
        with pytest.raises(InvalidEffect, match="is write 96"):
            tx.put(TableName=TABLE, Item={"id": "one more"})
        with pytest.raises(InvalidEffect, match="100 operations"):
            tx.submit(following, 6)
    assert jobclaim.drain() == 5


def test_a_submitter_that_dies_after_the_commit_costs_seconds(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobclaim.workers.submission import transaction as module

    monkeypatch.setattr(module, "publish_if_due", lambda *_, **__: None)
    with jobclaim_transaction() as tx:
        result = tx.submit(following, 7)
    monkeypatch.undo()

    jobclaim.travel(4)
    assert jobclaim.recover().redispatched == 0, "its submitter is probably still sending"
    jobclaim.travel(4)
    assert jobclaim.recover().redispatched == 1
    jobclaim.drain()
    assert result.get(timeout=1) == 7
    assert jobclaim.recover().redispatched == 0


def test_a_message_that_was_sent_in_time_is_not_sent_again(jobclaim: Harness) -> None:
    with jobclaim_transaction() as tx:
        tx.submit(following, 7)
    jobclaim.drain()
    jobclaim.travel(60)

    assert jobclaim.recover().redispatched == 0


def test_a_transaction_inside_another_is_refused(jobclaim: Harness) -> None:
    with jobclaim_transaction() as tx:
        tx.put(**put("outer"))
        with pytest.raises(InvalidInput, match="already open here"):
            jobclaim_transaction().__enter__()
    assert ledger(jobclaim) == {"outer"}

    with jobclaim_transaction() as tx:
        tx.put(**put("next"))
    assert ledger(jobclaim) == {"outer", "next"}


def test_a_transaction_takes_nothing_after_its_block(jobclaim: Harness) -> None:
    with jobclaim_transaction() as tx:
        tx.put(**put("one"))
    with pytest.raises(InvalidEffect, match="too late"):
        tx.put(**put("two"))
    with pytest.raises(InvalidEffect, match="its block has ended"):
        tx.submit(following, 1)
    with pytest.raises(InvalidInput, match="used already"):
        tx.__enter__()


def test_a_coroutine_has_its_requests_made_in_a_thread(jobclaim: Harness) -> None:
    async def submit() -> Any:
        async with jobclaim_transaction() as tx:
            tx.put(**put("order 7"))
            return tx.submit(following, 7)

    result = asyncio.run(submit())
    jobclaim.drain()

    assert result.get(timeout=1) == 7
    assert ledger(jobclaim) == {"order 7"}


def test_only_job_tasks_can_be_submitted(jobclaim: Harness) -> None:
    @shared_task(name="effects.plain")
    def plain() -> None:
        """No job."""

    with jobclaim_transaction() as tx, pytest.raises(InvalidInput, match="base is JobTask"):
        tx.submit(plain)


def test_options_of_a_submission_hold_in_a_transaction(jobclaim: Harness) -> None:
    with jobclaim_transaction() as tx:
        result = tx.apply_async(following, (7,), countdown=30, link=following.s())
    assert jobclaim.drain() == 0
    jobclaim.travel(31)
    assert jobclaim.drain() == 2
    assert result.get(timeout=1) == 7


def test_a_program_without_a_worker_names_its_app(jobclaim: Harness) -> None:
    with jobclaim_transaction(app=jobclaim.app) as tx:
        tx.put(**put("alone"))
    assert ledger(jobclaim) == {"alone"}


def test_jobclaims_own_tables_are_refused(jobclaim: Harness) -> None:
    name = jobclaim.repo.table.name
    with jobclaim_transaction(app=jobclaim.app) as tx, pytest.raises(InvalidEffect, match="belongs to jobclaim"):
        tx.put(TableName=name, Item={"job_id": "x"})
    tx = jobclaim_transaction()
    tx.put(TableName=f"arn:aws:dynamodb:us-east-1:123456789012:table/{name}", Item={"job_id": "x"})
    with pytest.raises(InvalidEffect, match="belongs to jobclaim"):
        tx.commit()


def test_in_eager_mode_the_task_runs_after_the_commit(jobclaim: Harness) -> None:
    jobclaim.app.conf.task_always_eager = True
    try:
        with jobclaim_transaction(app=jobclaim.app) as tx:
            tx.submit(following, 7)
            tx.put(**put("one"))
            assert not ran
    finally:
        jobclaim.app.conf.task_always_eager = False
    assert ran == [("followed", [7])]
    assert ledger(jobclaim) == {"one"}


def jobclaim_transaction(app: Any = None) -> Any:
    return jobclaim.transaction(app)


def fail_in(tx: Any) -> None:
    tx.put(**put("order 7"))
    tx.submit(following, 7)
    raise LookupError("no")
