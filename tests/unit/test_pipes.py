"""How calls get to the children of a prefork pool: at once, whole, one at a time, or by Celery's own code."""

from __future__ import annotations

import os
import pickle
import select
import struct
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.asynpool import SCHED_STRATEGY_FAIR, SCHED_STRATEGY_FCFS

from jobclaim.workers.process.pipes import Pipes, write_at_once


class Inner(SimpleNamespace):
    """What a pool shows of itself, with one child per pipe."""

    def __init__(self, pipes: list[tuple[int, int]]) -> None:
        writers = [writer for _, writer in pipes]
        super().__init__(
            sched_strategy=SCHED_STRATEGY_FAIR,
            outbound_buffer=deque(),
            write_stats=Counter(),
            _cache={},
            _all_inqueues=set(writers),
            _busy_workers=set(),
            _active_writes=set(),
            _fileno_to_inq={writer: SimpleNamespace(index=number) for number, writer in enumerate(writers)},
        )
        self.readers = dict(zip(writers, (reader for reader, _ in pipes), strict=True))

    def call(self, number: int, argument: str = "a") -> tuple[Any, Any]:
        """Make a call that the pool knows; return it with its job."""
        self._cache[number] = job = SimpleNamespace(_accepted=False, _write_to=None)
        return (0, (number, None, "f", (argument,), {})), job

    def read(self, writer: int) -> Any:
        """Read a call as a child does."""
        (size,) = struct.unpack(">I", os.read(self.readers[writer], 4))
        return loaded(os.read(self.readers[writer], size))


def loaded(body: Any) -> Any:
    return pickle.loads(body)  # noqa: S301 - the test's own


@pytest.fixture
def inner() -> Iterator[Inner]:
    pipes = [os.pipe2(os.O_NONBLOCK) for _ in range(2)]
    yield Inner(pipes)
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)


@pytest.fixture
def pipes(inner: Inner) -> Pipes:
    made = Pipes(inner)
    made.write = lambda _: pytest.fail("left to Celery's code")
    return made


def test_a_free_child_gets_a_call_at_once(inner: Inner, pipes: Pipes) -> None:
    call, job = inner.call(1)
    pipes.send(call)
    (used,) = inner._busy_workers
    assert inner.read(used) == call
    child = inner._fileno_to_inq[used]
    assert (job._write_to, job._scheduled_for, job._writer()) == (child, child, None)
    assert (inner.outbound_buffer, inner.write_stats) == (deque(), Counter({child.index: 1}))


def test_each_child_gets_one_call_and_the_others_wait_in_order(inner: Inner, pipes: Pipes) -> None:
    calls = [inner.call(number)[0] for number in range(4)]
    for call in calls:
        pipes.send(call)
    first, second = inner._busy_workers
    assert {inner.read(first)[1][0], inner.read(second)[1][0]} == {0, 1}
    for expected, child in ((calls[2], second), (calls[3], first)):
        inner._busy_workers.discard(child)
        pipes.write_waiting()
        assert inner.read(child) == expected
        pipes.write_waiting()
    assert inner.outbound_buffer == deque()


def test_a_child_that_gets_the_rest_of_a_call_is_not_free(inner: Inner, pipes: Pipes) -> None:
    inner._active_writes |= inner._all_inqueues
    pipes.send(inner.call(1)[0])
    assert len(inner.outbound_buffer) == 1


def celerys(inner: Inner, pipes: Pipes) -> list[list[int]]:
    """Have Celery's code take the first waiting call; return which pipes it was given."""
    given: list[list[int]] = []

    def write(free: list[int]) -> None:
        assert inner._busy_workers.isdisjoint(free), "Celery gives a busy child nothing"
        given.append(free)
        inner._busy_workers.update(free)
        inner.outbound_buffer.popleft()

    pipes.write = write
    return given


def test_while_the_pool_looks_for_ended_children_no_call_is_written(inner: Inner, pipes: Pipes) -> None:
    def look(number: int, *, then: Any = None) -> int:
        pipes.send(inner.call(number)[0])
        if then is not None:
            then(number + 1)
            pipes.send(inner.call(number + 2)[0])
        assert inner._busy_workers == set()
        return number

    look_alone = pipes.not_during(look)
    assert look_alone(1, then=look_alone) == 1
    assert len(inner.outbound_buffer) == 3
    pipes.write_waiting()
    assert inner._busy_workers == inner._all_inqueues


def test_after_a_look_that_failed_calls_are_written_again(inner: Inner, pipes: Pipes) -> None:
    def look() -> None:
        raise OSError

    with suppress(OSError):
        pipes.not_during(look)()
    pipes.send(inner.call(1)[0])
    assert len(inner._busy_workers) == 1


def test_a_full_pipe_is_left_to_celery(inner: Inner, pipes: Pipes) -> None:
    given = celerys(inner, pipes)
    for writer in inner._all_inqueues:
        with suppress(BlockingIOError):
            while os.write(writer, b"x" * 4096):
                pass
    call, job = inner.call(1)
    pipes.send(call)
    assert [len(free) for free in given] == [1]
    whole, rest, left = job._payload
    assert (loaded(whole[4:]), len(rest), left) == (call, 0, 0)
    assert inner.write_stats == Counter()


@pytest.mark.parametrize(("spare", "count"), [(0, 0), (1, 1)])
def test_a_call_that_a_pipe_may_split_is_left_to_celery(inner: Inner, pipes: Pipes, spare: int, count: int) -> None:
    given = celerys(inner, pipes)
    size = len(pickle.dumps(inner.call(1, "a" * 1000)[0], pickle.HIGHEST_PROTOCOL)) - 1000
    call, job = inner.call(1, "a" * (select.PIPE_BUF - 4 - size + spare))
    pipes.send(call)
    assert len(given) == count
    if count:
        header, body, length = job._payload
        assert (bytes(header), loaded(body)) == (struct.pack(">I", length), call)


def test_a_call_that_was_terminated_while_it_waited_holds_up_no_other(inner: Inner, pipes: Pipes) -> None:
    inner._busy_workers |= inner._all_inqueues
    (_, job), (second, _) = inner.call(1), inner.call(2)
    for number in (1, 2):
        pipes.send((0, (number, None, "f", ("a",), {})))
    job._accepted, free = True, min(inner._all_inqueues)
    inner._busy_workers.discard(free)
    pipes.write = lambda _: inner.outbound_buffer.popleft()
    pipes.write_waiting()
    assert inner.read(free) == second


def test_a_child_that_has_just_ended_is_left_to_celery(inner: Inner, pipes: Pipes) -> None:
    given = celerys(inner, pipes)
    inner._fileno_to_inq.clear()
    pipes.send(inner.call(1)[0])
    assert len(given) == 1


def test_what_is_read_already_is_not_asked_for_again() -> None:
    asked: list[Any] = []
    hub = SimpleNamespace(readers={7: (min, (7,)), 8: (iter(()), ())}, add_reader=lambda *one: asked.append(one))
    inner = Inner([])
    pipes = Pipes(inner)
    pipes.hub = hub
    for number in (7, 8, 9):
        pipes.keep_reading(number, min, number)
    assert asked == [(8, min, 8), (9, min, 9)]


def test_a_pool_that_is_registered_again_is_called_once_a_turn(inner: Inner) -> None:
    hub = SimpleNamespace(on_tick=set(), readers={}, consolidate_callback=None)
    first: list[bool] = []

    def register(hub: Any) -> None:
        inner.on_poll_start = lambda: None
        if not first:  # as Celery does
            hub.on_tick.add(inner.on_poll_start)
            first.append(True)

    inner.register_with_event_loop = register
    inner._result_handler = SimpleNamespace(_recv_message=lambda add_reader, *_: add_reader)
    inner._join_exited_workers = flush = lambda: None
    pool = SimpleNamespace(_pool=inner, flush=flush)
    write_at_once(pool)
    for _ in range(3):
        inner.register_with_event_loop(hub)
    (called,) = hub.on_tick
    assert called == inner.on_poll_start
    assert inner._quick_put.__self__ is called.__self__
    assert inner._result_handler._recv_message(None, 7, None) == called.__self__.keep_reading
    assert (inner._join_exited_workers.__wrapped__, pool.flush.__wrapped__) == (flush, flush)


def test_a_pool_that_gives_children_several_calls_is_left_as_it_is(inner: Inner) -> None:
    inner.sched_strategy, inner._result_handler = SCHED_STRATEGY_FCFS, SimpleNamespace(_recv_message=None)
    inner.register_with_event_loop = inner._join_exited_workers = flush = lambda: None
    pool = SimpleNamespace(_pool=inner, flush=flush)
    write_at_once(pool)
    assert (inner.register_with_event_loop, inner._join_exited_workers, pool.flush) == (flush, flush, flush)
    assert inner._result_handler._recv_message is None


def test_a_pool_of_threads_has_no_pipes() -> None:
    write_at_once(SimpleNamespace())
