"""What a prefork pool keeps when it drops the jobs that wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import connection
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from billiard.pool import CLOSE, RUN

from jobclaim.workers.process import children
from jobclaim.workers.process.children import (
    Children,
    call_before_stop,
    keep_unconfirmed,
    read_answers_first,
    read_outcomes_before_limits,
)
from jobclaim.workers.state.worker import Worker

WAITING, HALF_WRITTEN, GIVEN, CONFIRMED = range(4)


class Job:
    """A job of the pool, at one of these points."""

    def __init__(self, pool: Any, point: int, child: Any) -> None:
        self.pool, self.point, self._accepted = pool, point, point == CONFIRMED
        self._write_to = None if point == WAITING else child
        self.writer = SimpleNamespace(gi_frame="a frame" if point == HALF_WRITTEN else None)

    _accept_callback = None

    def _writer(self) -> Any:
        return self.writer

    def discard(self) -> None:
        del self.pool._cache[self.point]

    def ready(self) -> bool:
        return False


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def inner(pipe: tuple[int, int]) -> Any:
    """A pool with a job at each point; its only child confirms, by a byte, the job that it has."""
    made = SimpleNamespace(_cache={}, _state=CLOSE, _busy_workers=set(), _fileno_to_outq={})
    child = SimpleNamespace(outqR_fd=pipe[0], inqW_fd=7, dead=False, alive=True)
    child._is_alive = lambda: child.alive

    def read(number: int, *_: Any) -> None:
        os.read(number, 1)
        made._cache[GIVEN]._accepted = True

    def drop() -> None:
        for job in list(made._cache.values()):
            if not job._accepted:
                job.discard()

    made.child, made.flush = child, drop
    made._result_handler = SimpleNamespace(_flush_outqueue=read, on_state_change=None)
    made.process_flush_queues = lambda ended: read(ended.outqR_fd) if made.has_answered else None
    made._cache |= {point: Job(made, point, child) for point in range(4)}
    return made


@pytest.mark.parametrize("writer", [None, SimpleNamespace(gi_frame=None)], ids=["gone", "at its end"])
@pytest.mark.parametrize(
    ("state", "kept"), [(CLOSE, {GIVEN, CONFIRMED}), (RUN, {HALF_WRITTEN, GIVEN, CONFIRMED})], ids=["closing", "open"]
)
def test_a_job_that_a_child_has_is_kept(
    inner: Any, state: int, kept: set[int], writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "CONFIRM_SECONDS", 0.01)
    inner._state, pool = state, SimpleNamespace(_pool=inner)
    inner._cache[GIVEN].writer = writer
    keep_unconfirmed(pool, lambda: None)
    pool.flush()
    assert (set(inner._cache), inner._busy_workers) == (kept, {7})
    assert Children(pool).are_starting()


def test_what_a_child_has_said_is_read_first(
    inner: Any, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, wait = SimpleNamespace(_pool=inner), Mock(wraps=connection.wait)
    monkeypatch.setattr(children, "wait", wait)
    keep_unconfirmed(pool, lambda: None)
    os.write(pipe[1], b"!")
    pool.flush()
    assert set(inner._cache) == {GIVEN, CONFIRMED}
    assert not Children(pool).are_starting()
    assert wait.call_count == 1


@pytest.mark.parametrize(("has_answered", "kept"), [(True, {GIVEN, CONFIRMED}), (False, {CONFIRMED})])
def test_a_job_whose_child_has_ended_is_kept_if_it_was_confirmed(
    inner: Any, pipe: tuple[int, int], has_answered: bool, kept: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pool would give it to another child, and its body could run a second time in one attempt."""
    monkeypatch.setattr(children, "wait", lambda *_: pytest.fail("waits for a child that has ended"))
    inner.child.alive, inner.has_answered, pool = False, has_answered, SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool, lambda: None)
    os.write(pipe[1], b"!")
    pool.flush()
    assert (set(inner._cache), inner._busy_workers) == (kept, set())


def test_a_child_of_which_everything_was_read_is_not_read_again(inner: Any) -> None:
    inner.child.alive, inner.child.dead, pool = False, True, SimpleNamespace(_pool=inner)
    inner.process_flush_queues = lambda _: pytest.fail("its pipes are closed")
    keep_unconfirmed(pool, lambda: None)
    pool.flush()
    assert set(inner._cache) == {CONFIRMED}


def test_a_job_that_no_child_has_starts_nowhere(inner: Any) -> None:
    for point in (GIVEN, HALF_WRITTEN):
        del inner._cache[point]
    assert not Children(SimpleNamespace(_pool=inner)).are_starting()


def test_a_pool_that_drops_nothing_is_left_as_it_is() -> None:
    pool = SimpleNamespace(_pool=SimpleNamespace())
    keep_unconfirmed(pool, lambda: None)
    assert not hasattr(pool, "flush")
    assert not Children(pool).are_starting()


@pytest.fixture
def handed_over(inner: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The confirmed job, whose child has handed its outcome over; reading the pipe ends the job."""
    job = inner._cache[CONFIRMED]
    job._accept_callback = Accepting().accept
    monkeypatch.setattr(Worker, "is_handed_over", lambda _, token: token == Accepting.token and not job.is_over)

    def read(number: int, *_: Any) -> None:
        os.read(number, 1)
        job.is_over = True

    job.is_over, job.ready = False, lambda: job.is_over
    inner._result_handler._flush_outqueue = read
    return job


class Accepting:
    """A request, as the pool knows it: by its method."""

    token = "its token"

    def accept(self) -> None:
        """Do nothing."""


def test_an_outcome_that_was_handed_over_is_read_before_the_rest_is_dropped(
    inner: Any, pipe: tuple[int, int], handed_over: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "CONFIRM_SECONDS", 0.01)
    pool, told = SimpleNamespace(_pool=inner), list[bool]()
    del inner._cache[GIVEN]
    keep_unconfirmed(pool, lambda: told.append(handed_over.is_over))
    os.write(pipe[1], b"!")
    pool.flush()
    assert told == [True]


@pytest.mark.parametrize("answered", [True, False])
def test_an_outcome_that_was_handed_over_is_read_before_its_hard_limit_counts(
    inner: Any, pipe: tuple[int, int], handed_over: Any, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "CONFIRM_SECONDS", 0.01)
    ended: list[bool] = []
    inner._timeout_handler = SimpleNamespace(on_hard_timeout=lambda job: ended.append(job.ready()))
    read_outcomes_before_limits(SimpleNamespace(_pool=inner))
    if answered:
        os.write(pipe[1], b"!")
    inner.on_hard_timeout(handed_over)
    inner._timeout_handler.on_hard_timeout(inner._cache[GIVEN])
    assert ended == [answered, False]


def test_nothing_is_read_before_the_hard_limit_of_a_job_that_handed_nothing_over(
    inner: Any, pipe: tuple[int, int], handed_over: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "is_handed_over", lambda *_: False)
    ended: list[bool] = []
    inner._timeout_handler = SimpleNamespace(on_hard_timeout=lambda job: ended.append(job.ready()))
    read_outcomes_before_limits(SimpleNamespace(_pool=inner))
    os.write(pipe[1], b"!")
    inner.on_hard_timeout(handed_over)
    assert ended == [False]


def test_a_job_that_its_pool_has_taken_back_is_not_waited_for(inner: Any, handed_over: Any) -> None:
    handed_over._accepted, handed_over._write_to = False, None
    del inner._cache[GIVEN]
    pool = SimpleNamespace(_pool=inner)
    keep_unconfirmed(pool, lambda: None)
    pool.flush()
    assert inner._cache == {}


OTHERS: list[dict[str, Any]] = [
    {},
    {"_fileno_to_outq": {}},
    {"_timeout_handler": SimpleNamespace(on_hard_timeout=id)},
]


@pytest.mark.parametrize("known", OTHERS, ids=["none", "no limits", "no pipes"])
def test_a_pool_without_limits_is_left_as_it_is(known: dict[str, Any]) -> None:
    inner = SimpleNamespace(**known)
    read_outcomes_before_limits(SimpleNamespace(_pool=inner))
    assert vars(inner) == known


READ, UNREAD = True, False


@pytest.mark.parametrize(
    ("job", "answers", "was_read", "drops"),
    [
        ({}, True, READ, False),
        ({}, False, READ, True),
        ({"_write_to": None, "_scheduled_for": SimpleNamespace(dead=False)}, True, READ, False),
        ({"_accepted": True}, True, UNREAD, True),
        ({"_write_to": SimpleNamespace(dead=True)}, True, UNREAD, True),
        ({"_write_to": None}, True, UNREAD, True),
    ],
    ids=["accepted", "not begun", "scheduled", "known as accepted", "read before", "without a child"],
)
def test_an_ended_childs_answer_is_read_before_its_job_is_given_to_another(
    job: dict[str, Any], answers: bool, was_read: bool, drops: bool
) -> None:
    given = {"_accepted": False, "_write_to": SimpleNamespace(dead=False), "_scheduled_for": None}
    ended, read, dropped = SimpleNamespace(**(given | job)), list[Any](), list[Any]()

    def flush(child: Any) -> None:
        read.append(child)
        ended._accepted = answers

    usual = lambda *given: dropped.append(given)  # noqa: E731
    inner = SimpleNamespace(on_job_process_down=usual, process_flush_queues=flush)
    read_answers_first(SimpleNamespace(_pool=inner))
    inner.on_job_process_down(ended, 7)
    assert (bool(read), dropped) == (was_read, [(ended, 7)] if drops else [])


def test_something_is_called_before_a_pool_waits_for_its_children() -> None:
    called: list[str] = []
    pool = SimpleNamespace(stop=lambda: called.append("stop"))
    call_before_stop(pool, lambda: called.append("before"))
    pool.stop()
    assert called == ["before", "stop"]


def test_the_loop_is_left_even_where_the_pool_cannot_drop_what_waits(inner: Any) -> None:
    pool, left = SimpleNamespace(_pool=inner), list[bool]()
    del inner._cache[GIVEN]

    def broken() -> None:
        raise OSError("a pipe is gone")

    inner.flush = broken
    keep_unconfirmed(pool, lambda: left.append(True))
    with pytest.raises(OSError, match="pipe"):
        pool.flush()
    assert left == [True]
