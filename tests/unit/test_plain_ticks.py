"""A plain task's tick runs once under two beats, and is not lost when a send fails or a beat dies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Task, shared_task

from jobclaim.fleet.by_hand import RunsByHand
from jobclaim.jobs import StoreUnavailable
from jobclaim.jobs.storage.tick_notes import STALE_MS, TickNotes
from jobclaim.testing import Harness
from jobclaim.workers.schedule.beat import JobScheduler
from jobclaim.workers.schedule.by_hand import run_now
from jobclaim.workers.schedule.entries import beat_schedule


@shared_task(base=Task, name="plain.note")
def note() -> None:
    """Do nothing."""


def beats(harness: Harness, number: int = 2, **changes: Any) -> list[JobScheduler]:
    """Start beats a second after a minute has begun."""
    harness.travel(61 - harness.clock() / 1000 % 60)
    schedules = {"note": {"task": "plain.note", "every": 60}}
    harness.use(**{"schedules": schedules, "recovery_by_beat": False, **changes})
    harness.app.conf.beat_schedule = beat_schedule(harness.repo.settings)
    made = [JobScheduler(harness.app) for _ in range(number)]
    for one in made:
        one.clock = lambda: datetime.fromtimestamp(harness.clock() / 1000, UTC)
    return made


def broken(*_: Any, **__: Any) -> None:
    raise ConnectionError("SQS is away")


def test_two_beats_send_one_message(jobclaim: Harness) -> None:
    one, two = beats(jobclaim)
    for _ in range(3):
        one.tick()
        two.tick()
        assert [message.task for message in jobclaim.messages] == ["plain.note"]
        jobclaim.drain()
        jobclaim.travel(60)


def test_a_send_that_fails_is_tried_again_by_the_same_beat(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = beats(jobclaim)
    with monkeypatch.context() as patch:
        patch.setitem(vars(jobclaim.app), "send_task", broken)
        patch.setattr(type(note._get_current_object()), "apply_async", broken)
        assert one.tick() <= 1
        assert two.tick() <= 1
    two.tick()
    assert not jobclaim.messages, "the other beat may be sending"
    one.tick()
    two.tick()
    assert len(jobclaim.messages) == 1


def test_a_beat_that_died_before_its_send_is_replaced(jobclaim: Harness) -> None:
    [two] = beats(jobclaim, 1)
    due = two.clock().replace(second=0, microsecond=0)
    TickNotes.of(jobclaim.repo).take(f"note@{due:%Y-%m-%dT%H:%M:%SZ}", "a beat that died")
    assert two.tick() <= 1
    assert not jobclaim.messages
    jobclaim.travel(STALE_MS / 1000 + 1)
    two.tick()
    assert len(jobclaim.messages) == 1


def test_a_tick_that_cannot_be_noted_is_tried_again(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = beats(jobclaim, 1)

    def away(*_: Any) -> None:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(TickNotes, "take", away)
        one.tick()
    assert not jobclaim.messages
    with monkeypatch.context() as patch:
        patch.setattr(TickNotes, "mark_as_sent", away)
        one.tick()
        one.tick()
    assert len(jobclaim.messages) == 1


@pytest.mark.parametrize("task", ["plain.note", "elsewhere.note"])
def test_a_run_by_hand_that_was_not_sent_is_an_error_and_can_be_repeated(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    beats(jobclaim, 0, schedules={"note": {"task": task, "every": 60}})
    with monkeypatch.context() as patch:
        patch.setitem(vars(jobclaim.app), "send_task", broken)
        patch.setattr(type(note._get_current_object()), "apply_async", broken)
        with pytest.raises(StoreUnavailable, match="SQS did not accept the message of schedule 'note'"):
            run_now(jobclaim.app, "note", by="ann")
    jobclaim.travel(1)
    run_now(jobclaim.app, "note", by="ann")
    assert [message.task for message in jobclaim.messages] == [task]


def test_a_run_by_hand_that_was_sent_is_no_error_because_its_note_fails(
    jobclaim: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("DynamoDB is away")

    beats(jobclaim, 0)
    monkeypatch.setattr(RunsByHand, "note", away)
    assert run_now(jobclaim.app, "note", by="ann") == jobclaim.messages[0].task_id


def test_a_call_that_the_task_does_not_take_does_not_end_beat(jobclaim: Harness) -> None:
    wrong = {"task": "plain.note", "every": 60, "args": [1, 2]}
    [one] = beats(jobclaim, 1, schedules={"wrong": wrong, "note": {"task": "plain.note", "every": 60}})
    one.tick()
    one._missed.append((one.schedule["wrong"], one.clock(), None))
    one.tick()
    assert len(jobclaim.messages) == 1


def test_recovery_asks_nothing_of_the_table_that_it_repairs(jobclaim: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = beats(jobclaim, schedules={}, recovery_by_beat=True)
    monkeypatch.setattr(TickNotes, "take", broken)
    one.tick()
    two.tick()
    assert len(jobclaim.messages) == 2
