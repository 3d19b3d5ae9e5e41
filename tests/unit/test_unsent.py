"""A call whose job is written and whose message is not: the next try sends it, by hand and by beat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import shared_task

from jobclaim.jobs import StoreUnavailable
from jobclaim.testing import Harness
from jobclaim.workers import IdempotentTask, JobTask
from jobclaim.workers.schedule.beat import JobScheduler, tick_id
from jobclaim.workers.schedule.entries import entries


@shared_task(base=JobTask, name="unsent.note")
def note() -> str:
    """Return something."""
    return "done"


@shared_task(base=IdempotentTask, name="unsent.once")
def once(number: int) -> int:
    """Return the number."""
    return number


class Broken:
    """A sender that fails for a while, before or after the message is under way."""

    def __init__(self, harness: Harness, *, sent: bool = False) -> None:
        self.harness, self.sent = harness, sent

    def __enter__(self) -> None:
        self.send = vars(self.harness.app)["send_task"]

        def fail(*args: Any, **kwargs: Any) -> None:
            if self.sent:
                self.send(*args, **kwargs)
            raise ConnectionError("SQS is away")

        vars(self.harness.app)["send_task"] = fail

    def __exit__(self, *_: object) -> None:
        vars(self.harness.app)["send_task"] = self.send


@pytest.mark.parametrize("sent", [False, True], ids=["not sent", "answer lost"])
@pytest.mark.parametrize("how", ["id", "key", "arguments"])
def test_the_second_try_sends_what_the_first_may_not_have(jobclaim: Harness, how: str, sent: bool) -> None:
    task, args, options = {
        "id": (note, (), {"task_id": "tick"}),
        "key": (note, (), {"idempotency_key": "tick"}),
        "arguments": (once, (7,), {}),
    }[how]
    with Broken(jobclaim, sent=sent):
        first = task.apply_async(args, expires=60, **options)
    assert first.unsent
    before = len(jobclaim.messages)
    second = task.apply_async(args, expires=60, **options)
    assert (second.id, second.unsent) == (first.id, False)
    assert len(jobclaim.messages) == before + 1
    jobclaim.drain()
    assert jobclaim.job(second).attempt == 1


def test_a_write_whose_answer_is_lost_is_sent_by_the_second_try(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = jobclaim.repo.create_job

    def lose(*args: Any, **kwargs: Any) -> None:
        create(*args, **kwargs)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(jobclaim.repo, "create_job", lose)
        with pytest.raises(StoreUnavailable):
            note.apply_async(task_id="tick", expires=60)
    assert not jobclaim.messages
    note.apply_async(task_id="tick", expires=60)
    assert jobclaim.drain() == 1


def test_a_duplicate_of_a_running_or_ended_job_sends_nothing(jobclaim: Harness) -> None:
    note.apply_async(task_id="tick", expires=60)
    jobclaim.drain()
    assert note.apply_async(task_id="tick", expires=60).get(timeout=1) == "done"
    assert not jobclaim.messages


def test_a_second_try_that_fails_too_says_so(jobclaim: Harness) -> None:
    with Broken(jobclaim):
        note.apply_async(task_id="tick", expires=60)
        assert note.apply_async(task_id="tick", expires=60).unsent


def test_recovery_sends_a_tick_before_it_expires(jobclaim: Harness) -> None:
    with Broken(jobclaim):
        note.apply_async(task_id="tick", expires=60)
    jobclaim.travel(31)
    jobclaim.recover()
    assert jobclaim.drain() == 1


# --- beat
def beat(harness: Harness) -> JobScheduler:
    """Start a beat a second after a minute has begun."""
    harness.travel(61 - harness.clock() / 1000 % 60)
    harness.use(schedules={"note": {"task": "unsent.note", "every": 60}}, recovery_by_beat=False)
    harness.app.conf.beat_schedule = entries(harness.repo.settings)
    made = JobScheduler(harness.app)
    made.clock = lambda: datetime.fromtimestamp(harness.clock() / 1000, UTC)
    return made


def test_beat_tries_again_when_the_message_was_not_sent(jobclaim: Harness) -> None:
    one = beat(jobclaim)
    with Broken(jobclaim):
        assert one.tick() <= 1
    assert not jobclaim.messages
    one.tick()
    assert jobclaim.drain() == 1
    one.tick()
    assert not jobclaim.messages


def test_a_beat_that_died_between_write_and_send_is_made_up_for_by_the_next(jobclaim: Harness) -> None:
    next_beat = beat(jobclaim)
    due = next_beat.clock().replace(second=0, microsecond=0)
    jobclaim.repo.create_job(
        "unsent.note", {"args": [], "kwargs": {}}, job_id=tick_id("note", due), start_by=due + timedelta(seconds=60)
    )
    next_beat.tick()
    assert jobclaim.drain() == 1
