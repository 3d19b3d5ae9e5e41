"""Canvases when things go wrong: messages lost or doubled, zombies, orphans, cancels. In one process, by moto."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError
from celery import chain, chord, group, shared_task
from celery.exceptions import ChordError, TaskRevokedError, WorkerLostError

from jobclaim.jobs import JobStatus, StoreUnavailable
from jobclaim.jobs.storage.resilience import TRIES
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.cancel import cancel
from jobclaim.workers.results import joining
from jobclaim.workers.results.chords import LOOK_SECONDS, job_id_of

ran: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@shared_task(base=JobTask, bind=True, name="unit.add")
def add(self: Any, left: int, right: int) -> int:
    """Add."""
    ran.append(("add", (left, right)))
    return left + right


@shared_task(base=JobTask, bind=True, name="unit.total")
def total(self: Any, numbers: list[int]) -> int:
    """Add up."""
    ran.append(("total", tuple(numbers)))
    return sum(numbers)


@shared_task(base=JobTask, bind=True, name="unit.fail")
def fail(self: Any, *_: Any) -> None:
    """Fail."""
    raise LookupError("nothing there")


@shared_task(base=JobTask, bind=True, name="unit.told")
def told(self: Any, failed_id: str) -> None:
    """Error callback."""
    ran.append(("told", failed_id))


@shared_task(name="unit.told_inline")
def told_inline(request: Any, error: BaseException, traceback: Any) -> None:
    """Error callback that Celery calls in place."""
    ran.append(("told inline", (request.id, str(error))))


@shared_task(base=JobTask, bind=True, name="unit.careful", on_orphan="retry")
def careful(self: Any, number: int) -> int:
    """May be started again."""
    ran.append(("careful", self.request.job.attempt))
    return number * 10


@shared_task(base=JobTask, bind=True, name="unit.submits")
def submits(self: Any, number: int) -> None:
    """Submit from the body."""
    careful.delay(number)


@shared_task(base=JobTask, bind=True, name="unit.zombie", on_orphan="retry", time_limit=60, soft_time_limit=30)
def zombie(self: Any, number: int) -> int:
    """Sleep, the first time, until recovery has taken the job for an orphan."""
    ran.append(("zombie", self.request.job.attempt))
    if self.request.job.attempt == 1:
        harness: Harness = self.app.harness_under_test
        harness.travel(self.request.job.lease_ms / 1000 + 1)
        harness.recover()
        return -1
    return number


@pytest.fixture
def under_test(jobclaim: Harness) -> Harness:
    """The harness, where `zombie` finds it."""
    jobclaim.app.harness_under_test = jobclaim
    return jobclaim


def bodies(name: str) -> list[Any]:
    return [value for task, value in ran if task == name]


def test_a_step_whose_message_is_lost_goes_on_with_its_chain(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1), add.s(10), add.s(100)).apply_async()
    jobclaim.deliver(jobclaim.messages.popleft())
    jobclaim.messages.clear()
    jobclaim.travel(300)
    assert jobclaim.recover().redispatched == 1
    jobclaim.drain()
    assert result.get(timeout=1) == 112


def test_a_chain_whose_messages_all_come_twice_runs_each_step_once(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1), add.s(10), add.s(100)).apply_async()
    while jobclaim.messages:
        message = jobclaim.messages.popleft()
        jobclaim.deliver(message)
        jobclaim.deliver(message)
    assert result.get(timeout=1) == 112
    assert len(bodies("add")) == 3


@pytest.mark.parametrize("operation", ["get_item", "put_item"])
def test_an_outage_between_two_steps_fails_none_of_them(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    client = jobclaim.repo.table.client()
    request, outage = getattr(client, operation), iter(range(50))
    result = chain(add.s(1, 2), add.s(10)).apply_async()

    def away_for_a_while(**asked: Any) -> Any:
        if next(outage, None) is not None:
            raise ConnectionClosedError(endpoint_url="http://dynamodb")
        return request(**asked)

    monkeypatch.setattr(client, operation, away_for_a_while)
    jobclaim.drain()
    assert next(outage, None) is None, "the outage was met"
    assert result.get(timeout=1) == 13
    assert [(job.status, job.attempt) for job in map(jobclaim.job, (result.parent, result))] == [
        (JobStatus.COMPLETED, 1)
    ] * 2


def test_a_body_that_submits_during_an_outage_hears_of_it_soon(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a process that has just seen to the next step of a chain."""
    result = chain(add.s(1, 2), submits.s()).apply_async()
    client, tries = jobclaim.repo.table.client(), Counter[str]()
    put_item = client.put_item

    def away(**asked: Any) -> Any:
        if asked["Item"].get("task") != {"S": "unit.careful"}:
            return put_item(**asked)
        tries["unit.careful"] += 1
        raise ConnectionClosedError(endpoint_url="http://dynamodb") if tries.total() < 100 else KeyError("endless")

    monkeypatch.setattr(client, "put_item", away)
    jobclaim.drain()
    failed = jobclaim.job(result)
    assert failed.failure is not None
    assert "StoreUnavailable" in failed.failure.exception
    assert tries.total() == TRIES


def test_a_zombie_does_not_start_the_next_step(under_test: Harness) -> None:
    result = chain(zombie.s(5), add.s(100)).apply_async()
    under_test.drain()
    assert bodies("zombie") == [1, 2]
    assert bodies("add") == [(5, 100)]
    assert result.get(timeout=1) == 105


def test_a_zombie_is_not_counted_by_its_chord(under_test: Harness) -> None:
    result = chord([zombie.s(5), add.s(1, 1)])(total.s())
    under_test.drain()
    assert bodies("total") == [(5, 2)]
    assert result.get(timeout=1) == 7


def test_a_chord_counts_members_that_come_twice_once(jobclaim: Harness) -> None:
    result = chord([add.s(number, 0) for number in range(5)])(total.s())
    while jobclaim.messages:
        message = jobclaim.messages.popleft()
        jobclaim.deliver(message)
        jobclaim.deliver(message)
    assert bodies("total") == [(0, 1, 2, 3, 4)]
    assert result.get(timeout=1) == 10


def test_a_chord_nobody_told_that_all_have_come_looks_by_itself(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("jobclaim.workers.results.chords.wake", lambda *_: None)
        result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
        jobclaim.drain()
    assert result.state == "PENDING"
    jobclaim.travel(LOOK_SECONDS + 1)
    jobclaim.drain()
    assert result.get(timeout=1) == 6


def test_a_member_that_cannot_be_counted_has_completed_all_the_same(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its success is stored before it is counted: to raise then would tell the winner that it has lost."""

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("DynamoDB did not answer")

    failures: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(type(jobclaim.app.backend.notes), "arrive", away)
        patch.setattr("jobclaim.workers.results.backend.record_failure", lambda *a, **k: failures.append(a))
        result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
        jobclaim.drain()
    assert failures == []
    jobclaim.travel(LOOK_SECONDS + 1)
    jobclaim.drain()
    assert result.get(timeout=1) == 6


def test_a_chord_waits_on_while_members_run(jobclaim: Harness) -> None:
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    held = jobclaim.messages.pop()
    jobclaim.drain()
    jobclaim.travel(LOOK_SECONDS + 1)
    jobclaim.drain()
    chord_job = jobclaim.job(job_id_of(result.parent.id))
    assert (chord_job.status, chord_job.charged) == (JobStatus.PENDING, 0)
    jobclaim.deliver(held)
    jobclaim.drain()
    assert result.get(timeout=1) == 6


@pytest.mark.parametrize("others", [0, 1], ids=["the last one", "one of two"])
def test_a_member_that_ends_while_its_chord_looks_is_not_lost(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """It is counted when the chord asks who was, and had no result when the chord asked for results."""
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    held = [jobclaim.messages.pop() for _ in range(1 + others)]
    jobclaim.drain()

    def asks_later(*arguments: Any) -> Any:
        with monkeypatch.context() as still:
            still.setattr(joining, "_lost", look)
            jobclaim.deliver(held.pop())
        return look(*arguments)

    look = joining._lost
    monkeypatch.setattr(joining, "_lost", asks_later)
    jobclaim.travel(LOOK_SECONDS + 1)
    jobclaim.drain()
    monkeypatch.undo()
    assert jobclaim.job(job_id_of(result.parent.id)).status is not JobStatus.FAILED
    for message in held:
        jobclaim.deliver(message)
    jobclaim.travel(LOOK_SECONDS + 1)
    jobclaim.drain()
    assert result.get(timeout=1) == 6


def test_an_orphaned_member_fails_its_chord(jobclaim: Harness) -> None:
    body = total.s().on_error(told.s())
    result = chord([add.s(1, 1), add.s(2, 2)])(body)
    lost = jobclaim.abandon()
    jobclaim.drain()
    jobclaim.travel(lost.lease_ms / 1000 + 1)
    assert jobclaim.recover().orphaned == 1
    jobclaim.drain()
    with pytest.raises(ChordError, match="is an orphan"):
        jobclaim.app.AsyncResult(result.id).get(timeout=1)
    assert bodies("told") == [result.id]
    assert isinstance(jobclaim.app.AsyncResult(lost.job_id).result, WorkerLostError)


def test_a_chord_whose_members_are_all_repaired_goes_on(jobclaim: Harness) -> None:
    result = chord([add.s(1, 1), add.s(2, 2), add.s(3, 3)])(total.s())
    lost = [jobclaim.abandon(), jobclaim.abandon()]
    jobclaim.drain()
    jobclaim.travel(lost[0].lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.drain()
    assert jobclaim.app.AsyncResult(result.id).state == "FAILURE"
    jobclaim.retry(lost[0].job_id)
    jobclaim.drain()
    assert bodies("total") == []
    jobclaim.retry(lost[1].job_id)
    jobclaim.drain()
    assert bodies("total") == [(2, 4, 6)]
    assert jobclaim.app.AsyncResult(result.id).get(timeout=1) == 12


def test_a_retried_orphan_in_front_of_a_group_starts_it_once(jobclaim: Harness) -> None:
    result = chain(careful.s(1), group(add.s(1), add.s(2)), total.s()).apply_async()
    lost = jobclaim.abandon()
    jobclaim.travel(lost.lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.drain()
    assert bodies("careful") == [2]
    assert sorted(bodies("add")) == [(10, 1), (10, 2)]
    assert bodies("total") == [(11, 12)]
    assert result.get(timeout=1) == 23


def test_an_attempt_cut_off_after_it_sent_the_next_steps_leaves_no_doubles(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = chain(careful.s(1), group(add.s(1), add.s(2)), total.s()).apply_async()
    with monkeypatch.context() as patch:
        patch.setattr(
            "jobclaim.workers.attempt.outcome._write", lambda *_, **__: None
        )  # it dies before its result is written
        jobclaim.deliver(jobclaim.messages.popleft())
    first = jobclaim.job(next(iter(jobclaim.submitted)))
    assert first.status is JobStatus.PROCESSING
    jobclaim.drain()
    jobclaim.travel(first.lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.drain()
    assert bodies("careful") == [1, 2]
    assert sorted(bodies("add")) == [(10, 1), (10, 2)]
    assert bodies("total") == [(11, 12)]
    assert result.get(timeout=1) == 23


def test_a_callback_is_sent_once_by_two_attempts(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    careful.apply_async((1,), link=add.s(5))
    with monkeypatch.context() as patch:
        patch.setattr("jobclaim.workers.attempt.outcome._write", lambda *_, **__: None)
        jobclaim.deliver(jobclaim.messages.popleft())
    first = jobclaim.job(jobclaim.submitted[0])
    jobclaim.travel(first.lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.drain()
    assert bodies("careful") == [1, 2]
    assert bodies("add") == [(10, 5)]


def test_error_callbacks_of_both_kinds_are_told(jobclaim: Harness) -> None:
    result = fail.apply_async(link_error=[told.s(), told_inline.s()])
    jobclaim.drain()
    assert bodies("told") == [result.id]
    assert bodies("told inline") == [(result.id, "nothing there")]
    with pytest.raises(LookupError, match="nothing there"):
        result.get(timeout=1)


def test_error_callbacks_of_an_orphan_are_told(jobclaim: Harness) -> None:
    result = add.apply_async((1, 1), link_error=told.s())
    lost = jobclaim.abandon()
    jobclaim.travel(lost.lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.recover()
    jobclaim.drain()
    assert bodies("told") == [result.id]


def test_a_cancelled_step_revokes_the_rest_of_its_chain(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1), add.s(1), add.s(1)).apply_async()
    first = result.parent.parent
    cancel(jobclaim.repo, first.id)
    jobclaim.drain()
    assert bodies("add") == []
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        jobclaim.app.AsyncResult(first.id).get(timeout=1)


def test_a_step_that_came_too_late_to_start_revokes_the_rest_of_its_chain_at_once(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1).set(expires=30), add.s(10)).apply_async()
    late = jobclaim.messages[0]
    jobclaim.travel(40)
    jobclaim.drain()
    jobclaim.deliver(late)
    jobclaim.drain()
    assert bodies("add") == []
    assert (result.parent.state, result.state) == ("REVOKED", "REVOKED")
    assert [job.task for job in jobclaim.submitted].count("jobclaim.tell_links") == 1


def test_a_member_that_came_too_late_to_start_fails_its_chord_at_once(jobclaim: Harness) -> None:
    result = chord([add.s(1, 1).set(expires=30), add.s(2, 2)])(total.s())
    jobclaim.travel(40)
    jobclaim.drain()
    with pytest.raises(ChordError):
        jobclaim.app.AsyncResult(result.id).get(timeout=1)


def test_jobs_whose_long_ids_differ_only_at_the_end_each_tell_their_links(jobclaim: Harness) -> None:
    calls = [add.s(number, 0).set(task_id=f"{'b' * 250}{number}", link_error=told.s()) for number in range(2)]
    for call in calls:
        call.apply_async()
    for lost in [jobclaim.abandon() for _ in calls]:
        jobclaim.travel(lost.lease_ms / 1000 + 1)
    jobclaim.recover()
    jobclaim.drain()
    assert sorted(bodies("told")) == [f"{'b' * 250}{number}" for number in range(2)]


def test_what_a_body_submits_knows_its_parent_and_root(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1), add.s(1)).apply_async()
    jobclaim.drain()
    meta = jobclaim.app.backend.get_task_meta(result.id)
    assert meta["parent_id"] == result.parent.id
    assert (meta["name"], meta["args"], meta["retries"]) == ("unit.add", [2, 1], 0)


def test_a_group_in_front_of_a_long_chain_fits_into_the_envelope(jobclaim: Harness) -> None:
    result = chain(add.s(1, 1), group(add.s(number) for number in range(60)), total.s(), add.s(5)).apply_async()
    jobclaim.drain()
    assert result.get(timeout=1) == sum(2 + number for number in range(60)) + 5


def test_a_task_that_replaces_itself_keeps_its_id(jobclaim: Harness) -> None:
    result = chain(replaced.s(3), add.s(1)).apply_async()
    jobclaim.drain()
    assert result.get(timeout=1) == 3 * 2 + 1


@shared_task(base=JobTask, bind=True, name="unit.replaced")
def replaced(self: Any, number: int) -> Any:
    """Be replaced by a chain."""
    raise self.replace(chain(add.s(number, 0), add.s(number)))
