"""A quiet worker polls little whatever its size, is as fast as ever, and wears no message out: on a simulated SQS."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from jobclaim.infra.cost import EMPTY_POLLS_PER_HOUR
from jobclaim.settings import Settings
from jobclaim.workers.process import intake
from jobclaim.workers.transport.channel import Channel
from jobclaim.workers.transport.http import Answer
from jobclaim.workers.transport.idle import polls_per_hour
from jobclaim.workers.transport.plan import (
    KEPT_RECEIVES,
    QUIET_SECONDS,
    Policy,
    Poll,
    QueueState,
    Unserved,
    plan,
    receives_of,
    unserved,
)
from jobclaim.workers.transport.poller import Poller

STEP = 0.05
POLICY = Policy(wait_seconds=10, recheck_seconds=0.1)
POSTPONED_SECONDS = 15
SIZES = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 4), (3, 2), (5, 8), (8, 4)]
"""Processes and queues."""


@dataclass
class Message:
    """A message of the simulated SQS."""

    queue: str
    sent: float
    visible: float
    receives: int = 0
    started: float | None = None


class Fleet:
    """Workers of one size on one SQS, whose answers take ``line`` seconds."""

    def __init__(self, workers: int, processes: int, queues: int, *, job: float = 1.0, line: float = STEP) -> None:
        self.now, self.job, self.line = 0.0, job, line
        self.names = [f"queue-{number}" for number in range(queues)]
        self.messages: list[Message] = []
        self.polls: list[tuple[float, Poll, Callable[[Answer], None]]] = []
        self.asked = 0
        self.draw = random.Random(7)
        self.workers = [Worker(self, processes) for _ in range(workers)]

    def send(self, queue: str) -> Message:
        self.messages.append(Message(queue, self.now, self.now))
        return self.messages[-1]

    def ask(self, poll: Poll, done: Callable[[Answer], None]) -> None:
        self.asked += 1
        self.polls.append((self.now, poll, done))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + seconds
        while self.now < end and not until():
            self.now += STEP
            self._answer()
            for worker in self.workers:
                worker.step()

    def work_off(self) -> None:
        self.run(3_600, lambda: all(message.started is not None for message in self.messages))

    def _answer(self) -> None:
        self.draw.shuffle(self.polls)
        for entry in list(self.polls):
            asked_at, poll, done = entry
            ready = [one for one in self.messages if one.queue == poll.queue and one.visible <= self.now]
            if self.now - asked_at < (self.line if ready else poll.wait + self.line):
                continue
            self.polls.remove(entry)
            for message in ready[: poll.count]:
                message.receives += 1
                message.visible = float("inf")
            done({"Messages": [raw(message) for message in ready[: poll.count]]})


def raw(message: Message) -> dict[str, Any]:
    return {"Message": message, "Attributes": {"ApproximateReceiveCount": str(message.receives)}}


@dataclass
class Worker:
    """A worker of the fleet: its poller, the messages that wait for a process, and the ends of its jobs."""

    fleet: Fleet
    processes: int
    waiting: list[Message] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poller = Poller(POLICY, self.fleet.ask, self.take, lambda: self.fleet.now)
        self.poller.processes = lambda: self.processes
        self.poller.held = lambda: len(self.waiting) + len(self.ends)
        self.poller.release = self.release
        for name in self.fleet.names:
            self.poller.add(name, 5)

    def take(self, _queue: str, messages: list[dict[str, Any]]) -> None:
        self.waiting += [message["Message"] for message in messages]

    def release(self, _queue: str, message: dict[str, Any], fate: Unserved) -> None:
        message["Message"].visible = self.fleet.now + (POSTPONED_SECONDS if fate is Unserved.POSTPONE else 0.1)

    def step(self) -> None:
        now = self.fleet.now
        self.ends = [end for end in self.ends if end > now]
        while self.waiting and len(self.ends) < self.processes:
            message = self.waiting.pop(0)
            assert message.started is None
            message.started = now
            self.ends.append(now + self.fleet.job)
        self.poller.tick()


@pytest.mark.parametrize("queues", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("processes", range(1, 9))
def test_a_quiet_worker_of_any_size_polls_as_often_as_the_prices_say(queues: int, processes: int) -> None:
    assert polls_per_hour(queues, processes, Settings()) == EMPTY_POLLS_PER_HOUR * queues


def test_a_slow_line_does_not_make_a_quiet_worker_poll_more() -> None:
    fleet = Fleet(1, processes=1, queues=8, line=0.3)
    fleet.run(60)
    fleet.asked = 0
    fleet.run(600)
    assert fleet.asked <= EMPTY_POLLS_PER_HOUR * 8 / 6


def test_after_work_a_worker_is_quiet_again_within_two_minutes() -> None:
    fleet = Fleet(1, processes=1, queues=4, job=30)
    for name in fleet.names:
        fleet.send(name)
    fleet.work_off()
    fleet.run(30 + 2 * QUIET_SECONDS)
    fleet.asked = 0
    fleet.run(600)
    assert fleet.asked <= EMPTY_POLLS_PER_HOUR * 4 / 6


@pytest.mark.parametrize(("processes", "queues"), SIZES)
def test_the_first_message_in_the_quiet_starts_within_a_tenth_of_the_shortest_sla(processes: int, queues: int) -> None:
    fleet = Fleet(1, processes, queues, job=0.1)
    for name in fleet.names:
        fleet.run(QUIET_SECONDS + 11 + 3 * fleet.draw.random())
        message = fleet.send(name)
        fleet.run(5, lambda sent=message: sent.started is not None)  # type: ignore[misc]
        assert message.started is not None
        assert message.started - message.sent <= 0.2


@pytest.mark.parametrize("workers", [1, 3, 12])
@pytest.mark.parametrize("job", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("each", [1, 10])
def test_a_burst_never_raises_a_receive_count_beyond_the_bound(workers: int, job: float, each: int) -> None:
    fleet = Fleet(workers, processes=1, queues=4, job=job)
    fleet.run(30)
    for _ in range(each):
        for name in fleet.names:
            fleet.send(name)
    fleet.work_off()
    assert max(message.receives for message in fleet.messages) <= (2 if workers == 1 else KEPT_RECEIVES)


@pytest.mark.parametrize("gap", [2.0, 20.0, 70.0])
def test_nor_does_work_that_comes_now_and_then(gap: float) -> None:
    fleet = Fleet(6, processes=1, queues=4, job=45)
    for number in range(24):
        fleet.run(2 * gap * fleet.draw.random())
        fleet.send(fleet.names[number % 4])
    fleet.work_off()
    assert max(message.receives for message in fleet.messages) <= KEPT_RECEIVES


def test_polls_left_over_from_the_quiet_do_not_slow_down_the_backlog_of_another_queue() -> None:
    fleet = Fleet(1, processes=1, queues=4, job=STEP)
    fleet.run(30)
    for _ in range(40):
        fleet.send(fleet.names[2])
    began = fleet.now
    fleet.work_off()
    assert fleet.now - began < 40 * (STEP + 3 * fleet.line)
    assert max(message.receives for message in fleet.messages) == 1


def idle(name: str, *, releasable: bool = True) -> QueueState:
    return QueueState(name, releasable=releasable, empty_at=1000.0)


def test_every_queue_is_polled_for_longest_while_it_is_quiet_and_no_slot_is_reserved() -> None:
    queues = [idle("a"), idle("b"), idle("c")]
    assert plan(queues, 1, 1001.0, POLICY, quiet=True) == [Poll(name, 1, 10, spare=True) for name in "abc"]


def test_two_processes_a_queue_need_no_spare_polls() -> None:
    assert not any(poll.spare for poll in plan([idle("a"), idle("b")], 4, 1001.0, POLICY, quiet=True))


def test_a_queue_whose_redrive_policy_allows_few_receives_gets_no_spare_polls() -> None:
    queues = [idle("a"), idle("b", releasable=False)]
    assert not any(poll.spare for poll in plan(queues, 1, 1000.0, POLICY, quiet=True))


@pytest.mark.parametrize(
    ("receives", "fate"), [(1, Unserved.RELEASE), (2, Unserved.POSTPONE), (3, Unserved.KEEP), (9, Unserved.KEEP)]
)
def test_a_message_without_a_process_is_released_twice_then_kept(receives: int, fate: Unserved) -> None:
    assert unserved(raw(Message("a", 0.0, 0.0, receives))) is fate


@pytest.mark.parametrize("message", [{}, {"Attributes": None}, {"Attributes": {"ApproximateReceiveCount": "many"}}])
def test_a_message_without_a_count_was_received_once(message: dict[str, Any]) -> None:
    assert receives_of(message) == 1


def test_only_a_kept_message_may_wait_long_for_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request_of(receives) for receives in (1, KEPT_RECEIVES)]
    semaphore = SimpleNamespace(_waiting=deque((None, (request,)) for request in requests))
    consumer: Any = SimpleNamespace(timer=None, controller=SimpleNamespace(semaphore=semaphore))
    released: list[str] = []
    channel: Any = SimpleNamespace(release=released.append)
    step = intake.Intake(SimpleNamespace(steps=[]))
    for now in (0.0, 1.1):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        step._look_for_waiting(consumer, channel)
    assert released == ["tag-1"]
    assert [entry[1][0] for entry in semaphore._waiting] == requests[1:]


def request_of(receives: int) -> Any:
    info = {"sqs_message": raw(Message("a", 0.0, 0.0, receives))}
    return Mock(message=SimpleNamespace(delivery_info=info, delivery_tag=f"tag-{receives}"))


@pytest.mark.parametrize(
    ("fate", "leaving", "batcher"),
    [
        (Unserved.RELEASE, False, "returns"),
        (Unserved.POSTPONE, False, "postponed"),
        (Unserved.POSTPONE, True, "returns"),
    ],
)
def test_a_channel_releases_what_finds_no_process_and_hides_nothing_while_it_stops(
    fate: Unserved, leaving: bool, batcher: str
) -> None:
    channel = Mock(_queue_cache={"a": "url"}, _is_leaving=lambda: leaving)
    Channel._release_unserved(channel, "a", {"ReceiptHandle": "receipt"}, fate)
    assert [call[0] for call in channel.method_calls] == [f"{batcher}.put"]
    getattr(channel, batcher).put.assert_called_once_with("url", "receipt")
