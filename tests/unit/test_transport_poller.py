"""The polls of a worker, driven by hand: answers, errors and time come from the test."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from jobclaim.workers.transport.http import Answer, Failed
from jobclaim.workers.transport.outage import LONGEST_BACKOFF_SECONDS, Outage, backoff
from jobclaim.workers.transport.plan import Policy, Poll
from jobclaim.workers.transport.poller import Poller, PollPace


class Sqs:
    """Takes the polls, and answers them when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Poll, Callable[[Answer], None]]] = []
        self.broken = False

    def ask(self, poll: Poll, done: Callable[[Answer], None]) -> None:
        if self.broken:
            raise RuntimeError("no credentials")
        self.waiting.append((poll, done))

    def answer(self, answer: Answer) -> Poll:
        """Answer the poll that waits longest."""
        poll, done = self.waiting.pop(0)
        done(answer)
        return poll


class Worker:
    """A poller with its processes; one queue ``a``."""

    def __init__(self, processes: int = 2) -> None:
        self.now = 100.0
        self.sqs = Sqs()
        self.taken: list[Any] = []
        self.poller = Poller(
            Policy(10, 0.1), self.sqs.ask, lambda _, messages: self.taken.extend(messages), lambda: self.now
        )
        self.poller.processes = lambda: processes
        self.poller.held = lambda: len(self.taken)
        self.poller.add("a", 5)

    def bring(self, *messages: str) -> Poll:
        """Let the waiting poll bring messages."""
        return self.sqs.answer({"Messages": [{"Body": body} for body in messages]})


@pytest.fixture
def worker() -> Worker:
    """A worker of two processes, idle."""
    return Worker()


@pytest.mark.parametrize("processes", [2, 50])
def test_messages_held_and_asked_for_never_exceed_the_processes(processes: int) -> None:
    draw, worker = random.Random(3), Worker(processes)
    worker.poller.add("b", 1)
    worker.poller.add("c", 9)
    for _ in range(2000):
        worker.now += 0.6 + draw.random()  # slow jobs: nothing is fetched ahead
        if worker.taken and draw.random() < 0.4:
            worker.taken.pop()
        worker.poller.tick()
        assert worker.poller.asked + len(worker.taken) <= processes
        if worker.sqs.waiting and draw.random() < 0.6:
            poll = worker.sqs.waiting[0][0]
            worker.bring(*["m"] * draw.randint(0, poll.count))
            worker.poller.tick()
            assert worker.poller.asked + len(worker.taken) <= processes


def test_a_long_poll_that_brought_nothing_is_followed_by_the_next(worker: Worker) -> None:
    for _ in range(3):
        worker.poller.tick()
        assert worker.sqs.answer({}) == Poll("a", 2, 10)


def deep(processes: int = 60) -> Worker:
    """A worker whose queue has several requests in progress."""
    worker = Worker(processes)
    for _ in range(3):
        worker.poller.tick()
        worker.bring(*["m"] * 10)
    for _ in range(5):
        worker.poller.tick()
    return worker


def test_a_deep_queue_has_several_requests_in_progress_and_an_empty_one_has_one_again() -> None:
    worker = deep(70)
    assert [poll for poll, _ in worker.sqs.waiting] == [Poll("a", 10, 10), Poll("a", 10, 0), Poll("a", 10, 0)]
    assert worker.poller.asked == 30
    for left in (2, 1, 0):
        worker.sqs.answer({})
        assert worker.poller.queues["a"].requests == left
        if left:
            worker.poller.tick()
    worker.poller.tick()
    worker.poller.tick()
    assert [poll for poll, _ in worker.sqs.waiting] == [Poll("a", 10, 10)]


@pytest.mark.parametrize("others", [[], ["b"]], ids=["one queue", "two queues"])
def test_a_deep_queue_that_is_paused_is_asked_no_more(others: list[str]) -> None:
    worker = deep(100)
    for name in others:
        worker.poller.add(name, 1)
    worker.poller.is_paused = lambda name: name == "a"
    left = len(worker.sqs.waiting)
    for _ in range(left):
        worker.bring(*["m"] * 10)
        del worker.taken[:]  # postponed
        worker.now += 0.01
        worker.poller.tick()
    assert [poll.queue for poll, _ in worker.sqs.waiting] == others


def test_of_several_requests_that_fail_together_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def failed(_: Outage, reason: str) -> float:
        counted.append(reason)
        return 0.2

    monkeypatch.setattr(Outage, "failed", failed)
    worker = deep(70)
    for number in range(3):
        worker.now += 0.01
        worker.sqs.answer(Failed(500, f"HTTP 500, {number}"))
    assert counted == ["HTTP 500, 0"]
    worker.now += 0.2
    worker.poller.tick()
    worker.sqs.answer(Failed(500, "again"))
    assert counted == ["HTTP 500, 0", "again"]


@pytest.mark.parametrize(
    ("first", "seconds", "second", "is_deep"),
    [(1, 0.4, 5, True), (1, 0.4, 4, False), (10, 0.6, 10, False), (0, 0.1, 10, False)],
    ids=["soon", "few", "late", "the first"],
)
def test_what_makes_a_queue_deep(first: int, seconds: float, second: int, is_deep: bool) -> None:
    worker = Worker(processes=50)
    worker.poller.tick()
    worker.bring(*["m"] * first)
    worker.poller.tick()
    worker.now += seconds
    worker.bring(*["m"] * second)
    for _ in range(3):
        worker.poller.tick()
    assert (len(worker.sqs.waiting) > 1) is is_deep


def test_an_error_ends_the_other_requests_for_now() -> None:
    worker = deep()
    worker.sqs.answer(Failed(500, "HTTP 500"))
    while worker.sqs.waiting:
        worker.sqs.answer({})
    worker.now += LONGEST_BACKOFF_SECONDS
    for _ in range(3):
        worker.poller.tick()
    assert len(worker.sqs.waiting) == 1


def test_an_error_is_waited_for_and_the_queue_is_asked_again(worker: Worker) -> None:
    worker.poller.tick()
    worker.sqs.answer(Failed(500, "HTTP 500"))
    assert worker.poller.queues["a"].blocked_until >= worker.now
    worker.now += LONGEST_BACKOFF_SECONDS
    worker.poller.tick()
    assert worker.bring("m").queue == "a"
    assert len(worker.taken) == 1


def test_a_request_that_cannot_even_be_made_is_an_outage_not_a_crash(worker: Worker) -> None:
    worker.sqs.broken = True
    worker.poller.tick()
    worker.sqs.broken = False
    worker.now += LONGEST_BACKOFF_SECONDS
    worker.poller.tick()
    assert worker.sqs.waiting


def test_an_answer_without_messages_of_any_shape_counts_as_empty(worker: Worker) -> None:
    answers: list[Answer] = [{}, {"Messages": None}, {"Messages": []}, {"ResponseMetadata": {}}]
    for answer in answers:
        worker.poller.tick()
        worker.sqs.answer(answer)
    assert worker.taken == []


def test_a_paused_worker_asks_for_nothing(worker: Worker) -> None:
    worker.poller.paused = lambda: True
    worker.poller.tick()
    assert worker.sqs.waiting == []


def test_a_removed_queue_is_not_asked_but_its_last_answer_is_delivered(worker: Worker) -> None:
    worker.poller.tick()
    worker.poller.remove("a")
    worker.bring("late")
    assert worker.taken == [{"Body": "late"}]
    worker.poller.tick()
    assert worker.sqs.waiting == []


def test_a_worker_of_short_jobs_fetches_ahead_and_one_of_long_jobs_stops_doing_so(worker: Worker) -> None:
    for _ in range(100):
        worker.now += 0.01
        worker.poller.tick()
        if worker.sqs.waiting:
            worker.bring("m", "m")
        worker.taken.clear()
    worker.poller.tick()
    worker.bring("m", "m")
    worker.poller.tick()
    assert worker.poller.asked > 0, "both processes are busy, but not for long"
    worker.bring(*["m"] * worker.poller.asked)
    worker.now += 1.0
    del worker.taken[2:]
    worker.now += 1.0
    worker.poller.tick()
    assert worker.poller.asked == 0


def test_the_pace_forgets_after_half_a_second() -> None:
    pace = PollPace()
    pace.note(0, busy=4, now=1.0)
    pace.note(10, busy=0, now=1.1)
    assert pace.finished == 10
    assert pace.seconds_each == pytest.approx(0.04)
    pace.note(0, busy=0, now=1.7)
    assert pace.finished == 0


class TestOutage:
    def test_the_backoff_is_full_jitter_under_a_ceiling_that_doubles_to_five_seconds(self) -> None:
        ceilings = [backoff(failures, draw=lambda: 1.0) for failures in range(1, 9)]
        assert ceilings == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
        assert backoff(5, draw=lambda: 0.0) == 0.0

    def test_an_outage_is_told_once_and_so_is_its_end(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "jobclaim")
        outage = Outage("polling SQS", queue="a")
        for _ in range(50):
            outage.failed("HTTP 503")
        for _ in range(3):
            outage.succeeded()
        told = caplog.text
        assert told.count("sqs.failing") == 1
        assert told.count("sqs.recovered") == 1
        assert "failures=50" in told


@pytest.mark.parametrize(
    ("round_trip", "job_seconds", "processes"),
    [(0.2, 0.2, 8), (0.1, 0.2, 8), (0.2, 0.2, 2), (0.2, 0.4, 8), (0.05, 0.1, 8)],
)
@pytest.mark.parametrize("first", [1, 6, 8])
def test_a_slow_line_leaves_few_processes_idle(
    round_trip: float, job_seconds: float, processes: int, first: int
) -> None:
    """Jobs of two requests of 100 ms, SQS that answers after 200 ms: of what the processes could do, five sixths.

    Times vary by a tenth. The first answer fills only some of the processes: what these finish must not be taken for
    what all could do, or the worker would ask for so few messages forever.
    """
    worker, draw = Worker(processes), random.Random(first)
    ends: list[float] = []
    arrivals: list[tuple[float, int]] = []
    worker.poller.held = lambda: len(worker.taken) + len(ends)
    done, step, seconds, most = 0, 0.005, 20.0, min(first, processes)
    while worker.now < 100.0 + seconds:
        worker.now += step
        done += sum(end <= worker.now for end in ends)
        ends[:] = [end for end in ends if end > worker.now]
        while arrivals and arrivals[0][0] <= worker.now:
            worker.bring(*["m"] * arrivals.pop(0)[1])
        while worker.taken and len(ends) < processes:
            worker.taken.pop()
            ends.append(worker.now + job_seconds * draw.uniform(0.95, 1.05))
        worker.poller.tick()
        if worker.sqs.waiting and not arrivals:
            count, most = min(most, worker.sqs.waiting[0][0].count), 10
            arrivals.append((worker.now + round_trip * draw.uniform(0.95, 1.05), count))
    assert done / seconds >= 5 / 6 * processes / job_seconds
