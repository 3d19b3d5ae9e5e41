"""What follows from a task's end and cannot be submitted fails under its own id, and everybody it concerns is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError
from celery import chain, chord, group, shared_task
from celery.exceptions import ChordError
from pydantic import BaseModel

from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.cancel import cancel
from jobclaim.workers.own_tasks import PATIENCE
from jobclaim.workers.results.chords import LOOK_SECONDS, job_id_of
from jobclaim.workers.results.waiting import QUEUE_SECONDS, SUBMISSION_SECONDS

told: list[str] = []
ran: list[str] = []
LARGE = 150_000
NOWHERE = "queue that is not configured"


class Row(BaseModel):
    """What a typed task wants."""

    name: str


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    told.clear()
    ran.clear()


@shared_task(base=JobTask, bind=True, name="follow.give")
def give(self: Any, value: Any = None) -> Any:
    """Give the value back."""
    ran.append("give")
    return value


@shared_task(name="follow.plain_give")
def plain_give(value: Any = None) -> Any:
    """Give the value back, as a plain task."""
    ran.append("plain give")
    return value


@shared_task(base=JobTask, bind=True, name="follow.large")
def large(self: Any, *_: Any) -> str:
    """Give much back: two of these are no payload."""
    return "x" * (LARGE // 2 + 1)


@shared_task(base=JobTask, bind=True, name="follow.take")
def take(self: Any, values: Any) -> int:
    """Take one argument."""
    ran.append("take")
    return len(values)


@shared_task(base=JobTask, bind=True, name="follow.nothing")
def takes_nothing(self: Any) -> None:
    """Take no argument."""
    ran.append("nothing")


@shared_task(name="follow.plain_nothing")
def plain_takes_nothing() -> None:
    """Take no argument, as a plain task."""
    ran.append("plain nothing")


@shared_task(base=JobTask, bind=True, name="follow.typed")
def typed(self: Any, row: Row) -> str:
    """Take a row."""
    ran.append("typed")
    return row.name


@shared_task(base=JobTask, bind=True, name="follow.told")
def on_error(self: Any, failed_id: str) -> None:
    """Error callback."""
    told.append(failed_id)


@shared_task(base=JobTask, bind=True, name="follow.replaces")
def replaces(self: Any, value: Any = None) -> Any:
    """Hand over to what the test says."""
    raise self.replace(self.app.replacement)


@pytest.fixture
def harness(jobclaim: Harness) -> Harness:
    """A harness whose payloads are small."""
    jobclaim.use(max_payload_bytes=LARGE)
    return jobclaim


def state(harness: Harness, result: Any) -> str:
    return str(harness.app.AsyncResult(result.id).state)


def error(harness: Harness, result: Any) -> str:
    return str(harness.app.AsyncResult(result.id).result)


REFUSED: dict[str, Callable[[], Any]] = {
    "another signature": takes_nothing.s,
    "another signature, plain task": plain_takes_nothing.s,
    "typed": typed.s,
    "unknown keyword": lambda: take.s(colour="red"),
    NOWHERE: lambda: take.s().set(queue="nowhere"),
    "argument JSON does not know": lambda: takes_nothing.s(3, 4),
    "time limit beyond its queue's": lambda: take.s().set(time_limit=10**6),
}


@pytest.mark.parametrize("name", [name for name in REFUSED if name != NOWHERE])
def test_a_body_that_is_refused_fails_at_once(harness: Harness, name: str) -> None:
    result = chord([give.s(1), give.s(2)])(REFUSED[name]().on_error(on_error.s()))
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]
    assert harness.job(job_id_of(result.parent.id)).status is JobStatus.FAILED


def test_a_body_whose_list_is_too_large_fails_at_once(harness: Harness) -> None:
    result = chord([large.s(), large.s()])(take.s().on_error(on_error.s()))
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert "bytes" in error(harness, result)
    assert told == [result.id]


@pytest.mark.parametrize("name", REFUSED)
def test_a_next_step_that_is_refused_fails_and_so_does_the_rest(harness: Harness, name: str) -> None:
    result = chain(give.s(1), REFUSED[name]().on_error(on_error.s()), give.s()).apply_async()
    harness.drain()
    first, second = result.parent.parent, result.parent
    assert [state(harness, one) for one in (first, second, result)] == ["SUCCESS", "FAILURE", "FAILURE"]
    assert told == [second.id]


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_is_refused_fails_alone(harness: Harness, name: str) -> None:
    refused, fine = REFUSED[name]().on_error(on_error.s()), give.s()
    refused.freeze()
    fine.freeze()
    result = give.apply_async((1,), link=[refused, fine])
    harness.drain()
    assert state(harness, result) == "SUCCESS"
    assert harness.app.AsyncResult(refused.id).state == "FAILURE"
    assert harness.app.AsyncResult(fine.id).state == "SUCCESS"
    assert told == [refused.id]


@pytest.mark.parametrize("name", REFUSED)
def test_a_member_of_a_group_that_is_refused_in_mid_chain_fails_its_chord_and_not_its_siblings(
    harness: Harness, name: str
) -> None:
    result = chain(give.s(1), group(give.s(), REFUSED[name](), give.s()), take.s().on_error(on_error.s())).apply_async()
    harness.drain()
    harness.travel(LOOK_SECONDS + SUBMISSION_SECONDS + 1)
    harness.recover()
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]
    assert isinstance(harness.app.AsyncResult(result.id).result, ChordError)


@pytest.mark.parametrize("name", REFUSED)
def test_a_group_as_body_runs_its_other_members(harness: Harness, name: str) -> None:
    result = chord([give.s(1), give.s(2)])(group(take.s(), REFUSED[name]().on_error(on_error.s())))
    harness.drain()
    states = [harness.app.AsyncResult(one.id).state for one in result.results]
    assert states[1] == "FAILURE"
    assert len(told) == 1


@pytest.mark.parametrize("name", [name for name in REFUSED if name != NOWHERE])
def test_an_inner_chord_whose_body_is_refused_fails_the_outer_one(harness: Harness, name: str) -> None:
    inner = chord([give.s(1), give.s(2)], REFUSED[name]())
    result = chord([inner, give.s(3)])(take.s().on_error(on_error.s()))
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]


@pytest.mark.parametrize(
    "body", [lambda: takes_nothing.s() | give.s(), lambda: give.s() | takes_nothing.s() | give.s()]
)
def test_a_chain_as_body_fails_to_its_end(harness: Harness, body: Callable[[], Any]) -> None:
    result = chord([give.s(1), give.s(2)])(body())
    harness.drain()
    assert state(harness, result) == "FAILURE"


def test_a_header_with_a_failed_member_fails_a_body_that_is_a_chain_to_its_end(harness: Harness) -> None:
    result = chord([takes_value_and_fails.s(), give.s(2)])(take.s().on_error(on_error.s()) | give.s())
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert len(told) == 1


@shared_task(base=JobTask, bind=True, name="follow.fails")
def takes_value_and_fails(self: Any, *_: Any) -> None:
    """Fail."""
    raise LookupError("nothing there")


def test_a_chord_in_mid_chain_that_cannot_be_written_fails(harness: Harness) -> None:
    steps = chain(give.s(1), chord([give.s(), give.s()], take.s(["y" * LARGE]).on_error(on_error.s())), give.s())
    result = steps.apply_async() if harness.app else None
    harness.drain()
    assert state(harness, result) == "FAILURE"


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["alone", "in a chain", "in a group"])
def test_a_replacement_that_is_refused_fails_the_task_that_it_replaces(harness: Harness, name: str, where: str) -> None:
    made = REFUSED[name]()
    made = made.clone(args=(1,) if "signature" in name or name == "typed" else ())
    forms = {"alone": made, "in a chain": chain(give.s(1), made), "in a group": group(give.s(1), made)}
    harness.app.replacement = forms[where]
    result = chain(replaces.s(), give.s()).on_error(on_error.s()).apply_async()
    harness.drain()
    harness.travel(LOOK_SECONDS + SUBMISSION_SECONDS + 1)
    harness.recover()
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told


def test_a_refusal_that_may_pass_is_tried_again_and_fails_the_body_at_the_end(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = chord([give.s(1), give.s(2)])(take.s().on_error(on_error.s()))
    client = harness.repo.table.client()
    put = client.put_item

    def away(**asked: Any) -> Any:
        if asked["Item"].get("task") == {"S": "follow.take"}:
            raise ConnectionClosedError(endpoint_url="http://dynamodb")
        return put(**asked)

    monkeypatch.setattr(client, "put_item", away)
    for _ in range(PATIENCE + 2):
        harness.drain()
        harness.travel(LOOK_SECONDS)
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]


def test_a_chord_that_is_cancelled_fails_its_body(harness: Harness) -> None:
    result = chord([give.s(1), give.s(2)])(take.s().on_error(on_error.s()))
    harness.messages.clear()
    cancel(harness.repo, job_id_of(result.parent.id), send=harness.publish)
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]


def test_a_chord_whose_own_job_is_lost_too_often_fails_its_body(harness: Harness) -> None:
    result = chord([give.s(1), give.s(2)])(take.s().on_error(on_error.s()))
    for _ in range(2):
        harness.deliver(harness.messages[1] if harness.messages[0].task == "jobclaim.chord" else harness.messages[0])
        harness.messages.remove(next(one for one in harness.messages if one.task == "follow.give"))
    for _ in range(PATIENCE + 1):
        chord_job = harness.job(job_id_of(result.parent.id))
        if chord_job.status is JobStatus.FAILED:
            break
        harness.messages.clear()
        harness.travel(max(0, chord_job.available_at - harness.clock()) / 1000 + 1)
        lost = harness.repo.claim_job(chord_job.job_id, worker_id="dead")
        assert lost is not None
        harness.travel(lost.lease_ms / 1000 + 1)
        harness.recover()
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert told == [result.id]


def waited(harness: Harness, seconds: float, step: float = LOOK_SECONDS) -> float:
    """Let time go by, step by step, until no chord is open; give the seconds that it took."""
    passed = 0.0
    while passed < seconds:
        harness.drain()
        chords = [job for job in harness.submitted if job.task == "jobclaim.chord"]
        if not any(harness.job(job).status.is_open for job in chords):
            break
        harness.travel(step)
        passed += step
    return passed


@pytest.mark.parametrize(("member", "sent"), [(give, 0), (give, 1), (give, 2), (plain_give, 0), (plain_give, 1)])
def test_a_chord_whose_submitter_died_between_its_members_names_those_that_are_missing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, member: Any, sent: int
) -> None:
    frozen = [member.s(number) for number in range(3)]
    left = iter(range(sent))

    def die(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return apply(*args, **options)

    task = member._get_current_object()
    apply = task.apply_async
    body = take.s().on_error(on_error.s())
    body.freeze()
    with monkeypatch.context() as patch:
        patch.setattr(task, "apply_async", die)
        with pytest.raises(KeyboardInterrupt):
            chord(frozen)(body, task_id=body.id)
    assert waited(harness, 86_400) <= SUBMISSION_SECONDS + 2 * LOOK_SECONDS
    result = harness.app.AsyncResult(body.id)
    assert result.state == "FAILURE"
    assert f"{3 - sent} of 3 members will never have a result" in str(result.result)
    assert told == [body.id]


@pytest.mark.parametrize("how", ["forgotten", "expired"])
@pytest.mark.parametrize("member", [give, plain_give])
def test_a_chord_whose_member_is_gone_before_its_sibling_ended_fails_when_it_has(
    harness: Harness, how: str, member: Any
) -> None:
    result = chord([member.s(1), give.s(2)])(take.s().on_error(on_error.s()))
    first = result.parent.results[0]
    held = [one for one in harness.messages if one.task_id == result.parent.results[1].id]
    for message in [one for one in harness.messages if one.task_id == first.id]:
        harness.messages.remove(message)
        harness.deliver(message)
    harness.messages.remove(held[0])
    if how == "forgotten":
        harness.app.AsyncResult(first.id).forget()
    else:
        harness.travel(8 * 86_400)
        if member is plain_give:
            harness.travel(23 * 86_400)
    harness.deliver(held[0])
    harness.drain()
    assert state(harness, result) == "FAILURE"
    assert first.id in error(harness, result)
    assert told == [result.id]


def test_a_chord_waits_for_a_plain_member_that_is_in_a_queue_for_days(harness: Harness) -> None:
    result = chord([plain_give.s(1), give.s(2)])(take.s())
    held = harness.messages[0] if harness.messages[0].task == "follow.plain_give" else harness.messages[1]
    harness.messages.remove(held)
    assert waited(harness, 3 * 86_400, 36_000) >= 3 * 86_400
    harness.deliver(held)
    harness.drain()
    assert state(harness, result) == "SUCCESS"
    assert QUEUE_SECONDS > 3 * 86_400


@pytest.mark.parametrize("later", [chain(give.s(), give.s()), chain(plain_give.s(), give.s())])
def test_a_chord_waits_for_a_chain_whose_first_step_waits_for_days(harness: Harness, later: Any) -> None:
    result = chord([chain(give.s(1).set(countdown=2 * 86_400), later), give.s(2)])(take.s())
    harness.drain()
    harness.travel(86_400)
    harness.drain()
    assert state(harness, result) == "PENDING"
    harness.travel(86_400)
    for _ in range(4):
        harness.travel(300)
        harness.recover()
        harness.drain()
    assert state(harness, result) == "SUCCESS"


def test_a_callers_own_submission_in_a_body_raises(harness: Harness) -> None:
    result = submits.delay()
    harness.drain()
    assert "TypeError" in harness.job(result).failure.exception  # type: ignore[union-attr]


@shared_task(base=JobTask, bind=True, name="follow.submits")
def submits(self: Any) -> None:
    """Submit what does not fit."""
    takes_nothing.apply_async((1,), task_id="mine")
