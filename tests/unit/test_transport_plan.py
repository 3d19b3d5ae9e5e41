"""Which queue is asked for how many messages: the decisions of `workers.transport.plan`, without any clock or SQS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.workers.transport.plan import (
    MAX_MESSAGES,
    SCARCE_WAIT_SECONDS,
    Policy,
    Poll,
    QueueState,
    ahead_of,
    plan,
    slots,
)

POLICY = Policy(wait_seconds=10, recheck_seconds=0.1)
NOW = 1000.0


def empty(name: str, priority: int = 5, **known: Any) -> QueueState:
    """A queue that was just found empty."""
    return replace(QueueState(name, priority, empty_at=NOW), **known)


def busy(name: str, priority: int = 5) -> QueueState:
    """A queue whose last answer brought messages."""
    return QueueState(name, priority, backlog=True)


class TestOneQueue:
    def test_it_is_long_polled_for_every_free_process(self) -> None:
        assert plan([empty("a")], 4, NOW, POLICY) == [Poll("a", 4, 10)]

    def test_a_request_brings_ten_messages_at_most(self) -> None:
        assert plan([busy("a")], 30, NOW, POLICY) == [Poll("a", MAX_MESSAGES, 10)]

    def test_nothing_is_asked_while_all_processes_are_busy(self) -> None:
        assert plan([busy("a")], 0, NOW, POLICY) == []

    def test_without_long_polls_an_empty_queue_is_asked_after_a_pause_not_at_once(self) -> None:
        short = replace(POLICY, wait_seconds=0)
        assert plan([empty("a")], 4, NOW, short) == []
        assert plan([empty("a", empty_at=NOW - 0.11)], 4, NOW, short) == [Poll("a", 4, 0)]
        assert plan([empty("a"), empty("b")], 4, NOW, short) == []

    def test_a_queue_in_backoff_is_left_alone(self) -> None:
        assert plan([empty("a", blocked_until=NOW + 1)], 4, NOW, POLICY) == []


class TestDeepQueue:
    def test_it_is_asked_again_while_a_request_is_in_progress(self) -> None:
        deep = replace(busy("a"), depth=9, asked=10, requests=1)
        assert plan([deep], 25, NOW, POLICY) == [Poll("a", MAX_MESSAGES, 0)], "a short poll: it ends with the backlog"
        assert plan([deep, empty("b")], 25, NOW, POLICY) == [Poll("a", MAX_MESSAGES, 0)]

    def test_not_for_fewer_messages_than_a_request_can_bring(self) -> None:
        deep = replace(busy("a"), depth=9, asked=10, requests=1)
        assert plan([deep], MAX_MESSAGES - 1, NOW, POLICY) == []
        assert plan([replace(deep, asked=0, requests=0)], MAX_MESSAGES - 1, NOW, POLICY) == [Poll("a", 9, 10)]

    @pytest.mark.parametrize(("depth", "most"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4)])
    def test_it_has_one_more_for_each_answer_that_shows_more(self, depth: int, most: int) -> None:
        queue = replace(busy("a"), depth=depth)
        for requests in range(5):
            asked = plan([replace(queue, asked=10 * requests, requests=requests)], 30, NOW, POLICY)
            assert bool(asked) is (requests < most)

    def test_in_backoff_it_is_left_alone(self) -> None:
        assert plan([replace(busy("a"), depth=9, blocked_until=NOW + 1)], 30, NOW, POLICY) == []

    def test_with_strict_priority_a_lower_one_waits_for_the_higher_ones_answer(self) -> None:
        low = replace(busy("low", 1), depth=9, asked=10, requests=1)
        assert plan([replace(busy("high", 9), asked=3, requests=1), low], 20, NOW, POLICY) == []

    def test_the_queue_listens_while_one_of_its_requests_is_a_long_poll(self) -> None:
        queue, short, long = QueueState("a"), Poll("a", 10, 0), Poll("a", 4, 10)
        seen = []
        for change, poll in (
            (queue.begin, short),
            (queue.begin, long),
            (queue.begin, short),
            (queue.end, short),
            (queue.end, long),
            (queue.end, short),
        ):
            change(poll)
            seen.append((queue.requests, queue.asked, queue.listening))
        assert seen == [(1, 10, False), (2, 14, True), (3, 24, True), (2, 14, True), (1, 10, False), (0, 0, False)]


class TestPriority:
    def test_the_higher_queue_is_asked_first_when_one_process_comes_free(self) -> None:
        assert plan([busy("low", 1), busy("high", 9)], 1, NOW, POLICY) == [Poll("high", 1, 0)]

    def test_the_lower_queue_waits_for_the_answer_of_the_higher_one(self) -> None:
        high, low = empty("high", 9, empty_at=NOW - 2), busy("low", 1)
        assert plan([high, low], 4, NOW, POLICY) == [Poll("high", 4, 0)]
        assert plan([replace(high, asked=4), low], 2, NOW, POLICY) == []

    def test_the_lower_queue_gets_the_processes_that_the_higher_one_cannot_fill(self) -> None:
        assert plan([empty("high", 9), busy("low", 1)], 3, NOW, POLICY) == [Poll("low", 3, 0)]

    def test_equal_queues_do_not_wait_for_each_other(self) -> None:
        assert plan([replace(busy("a"), asked=3), busy("b")], 2, NOW, POLICY) == [Poll("b", 2, 0)]

    def test_without_strict_priority_nobody_waits_for_an_answer(self) -> None:
        fair = replace(POLICY, strict=False)
        queues = [empty("high", 9, empty_at=NOW - 2), busy("low", 1)]
        assert plan(queues, 4, NOW, fair) == [Poll("high", 1, 0), Poll("low", 3, 0)]

    def test_a_higher_queue_that_was_found_empty_just_now_does_not_hold_up_the_lower_one(self) -> None:
        assert plan([empty("high", 9), busy("low", 1)], 4, NOW, POLICY) == [Poll("low", 4, 0)]

    def test_the_pause_before_an_empty_queue_is_asked_again_doubles_up_to_a_second(self) -> None:
        def asked_after(seconds: float, found_empty: int) -> bool:
            high = empty("high", 9, empty_at=NOW - seconds, found_empty=found_empty)
            return plan([high, busy("low", 1)], 1, NOW, POLICY) == [Poll("high", 1, 0)]

        assert not asked_after(0.3, found_empty=2)
        assert asked_after(0.41, found_empty=2)
        assert asked_after(1.01, found_empty=50)

    def test_strict_priority_starves_the_lower_queue(self) -> None:
        low = replace(busy("low", 1), asked_at=NOW - 3600)
        assert plan([busy("high", 9), low], 1, NOW, POLICY) == [Poll("high", 1, 0)]

    def test_without_strict_priority_a_queue_that_waited_long_enough_comes_first(self) -> None:
        fair = replace(POLICY, strict=False)
        low, high = replace(busy("low", 1), asked_at=NOW - 9), replace(busy("high", 9), asked_at=NOW)
        assert plan([high, low], 1, NOW, fair) == [Poll("low", 1, 0)]
        assert plan([high, replace(low, asked_at=NOW - 7)], 1, NOW, fair) == [Poll("high", 1, 0)]


class TestListening:
    def test_idle_queues_get_one_bell_each_and_the_other_processes_stay_free(self) -> None:
        assert plan([empty("a"), empty("b")], 8, NOW, POLICY) == [Poll("a", 1, 10), Poll("b", 1, 10)]

    def test_bells_that_would_hold_most_processes_ring_back_soon(self) -> None:
        polls = plan([empty("a"), empty("b"), empty("c")], 4, NOW, POLICY)
        assert polls == [Poll(name, 1, SCARCE_WAIT_SECONDS) for name in "abc"]

    def test_no_long_poll_starts_while_another_queue_may_have_a_backlog(self) -> None:
        assert plan([empty("a"), replace(busy("b"), asked=3)], 5, NOW, POLICY) == []

    def test_with_fewer_processes_than_queues_the_last_one_goes_round(self) -> None:
        queues = [
            empty("a", 9, listened_at=NOW - 9),
            empty("b", 5, listened_at=NOW - 1),
            empty("c", 5, listened_at=NOW - 2),
        ]
        assert plan(queues, 2, NOW, POLICY) == [Poll("a", 1, SCARCE_WAIT_SECONDS), Poll("c", 1, SCARCE_WAIT_SECONDS)]
        assert plan(queues, 1, NOW, POLICY) == [Poll("a", 1, SCARCE_WAIT_SECONDS)]


QUEUES = st.lists(
    st.builds(
        QueueState,
        name=st.uuids().map(str),
        priority=st.integers(0, 10),
        asked=st.sampled_from([0, 0, 1, 5]),
        requests=st.integers(1, 5),
        depth=st.integers(0, 5),
        listening=st.booleans(),
        backlog=st.booleans(),
        found_empty=st.integers(0, 5),
        empty_at=st.sampled_from([float("-inf"), NOW - 5, NOW - 0.05, NOW]),
        asked_at=st.sampled_from([float("-inf"), NOW - 5, NOW]),
        blocked_until=st.sampled_from([float("-inf"), NOW + 1]),
    ),
    max_size=12,
)


class TestNeverMoreThanFree:
    @given(queues=QUEUES, free=st.integers(-3, 40), strict=st.booleans(), wait=st.integers(0, 20))
    def test_the_polls_of_one_round_fit_the_free_processes(
        self, queues: list[QueueState], free: int, strict: bool, wait: int
    ) -> None:
        polls = plan(queues, free, NOW, Policy(wait, 0.1, strict))
        assert sum(poll.count for poll in polls) <= max(free, 0)
        assert all(1 <= poll.count <= MAX_MESSAGES for poll in polls)

    @given(queues=QUEUES, free=st.integers(1, 40))
    def test_a_queue_gets_one_request_a_round_and_none_in_backoff(self, queues: list[QueueState], free: int) -> None:
        askable = {
            queue.name
            for queue in queues
            if (not queue.asked or (queue.depth and free >= MAX_MESSAGES)) and queue.blocked_until <= NOW
        }
        polled = [poll.queue for poll in plan(queues, free, NOW, POLICY)]
        assert len(polled) == len(set(polled))
        assert set(polled) <= askable

    @given(queues=QUEUES.filter(bool), free=st.integers(1, 40))
    def test_an_idle_worker_always_asks_something(self, queues: list[QueueState], free: int) -> None:
        idle = [replace(queue, asked=0, blocked_until=0.0) for queue in queues]
        assert plan(idle, free, NOW, POLICY)


class TestSlots:
    def test_messages_held_and_asked_for_take_up_processes(self) -> None:
        assert slots(processes=8, held=3, asked=2) == 3
        assert slots(processes=2, held=2, asked=0) == 0
        assert slots(processes=2, held=4, asked=1) == 0

    @pytest.mark.parametrize(
        ("seconds_each", "expected"), [(0.0, 24), (0.008, 24), (0.02, 20), (0.1, 4), (0.4, 1), (0.41, 0), (5.0, 0)]
    )
    def test_only_a_worker_of_very_short_jobs_runs_ahead(self, seconds_each: float, expected: int) -> None:
        assert ahead_of(8, 100, seconds_each) == expected

    @pytest.mark.parametrize("finished", [0, 1, 8])
    def test_no_more_is_fetched_ahead_than_was_finished_lately(self, finished: int) -> None:
        assert ahead_of(8, finished, seconds_each=0.008) == finished

    @pytest.mark.parametrize(("seconds_each", "expected"), [(0.2, 6), (0.6, 0)])
    def test_on_a_slow_line_short_jobs_are_fetched_ahead_even_while_few_are_finished(
        self, seconds_each: float, expected: int
    ) -> None:
        assert ahead_of(8, 6, seconds_each, round_trip=0.2) == expected

    def test_a_busy_worker_that_runs_ahead_waits_for_a_fuller_answer(self) -> None:
        assert slots(processes=8, held=15, asked=0, ahead=8) == 0
        assert slots(processes=8, held=12, asked=0, ahead=8) == 4

    def test_a_free_process_is_never_kept_waiting_for_a_fuller_answer(self) -> None:
        assert slots(processes=8, held=7, asked=8, ahead=8) == 1


def test_queues_of_equal_priority_take_turns() -> None:
    first = QueueState("a", backlog=True)
    second = QueueState("b", backlog=True)
    served = []
    for now in range(6):
        (poll,) = plan([first, second], 1, float(now), Policy(wait_seconds=10, recheck_seconds=0.1))
        served.append(poll.queue)
        (first if poll.queue == "a" else second).asked_at = float(now)
    assert served == ["a", "b"] * 3
