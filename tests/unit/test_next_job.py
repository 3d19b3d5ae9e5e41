"""A child gets its next job while it records the outcome of the one before: the pool's side, on billiard's handlers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import CLOSE, READY, RUN, ResultHandler
from celery import Task
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from jobclaim.workers.pools import next_job
from jobclaim.workers.pools.next_job import NEXT
from jobclaim.workers.state import worker

CHILD, PIPE = 11, 7


class RunningJob:
    """A job of the pool that a child has accepted."""

    def __init__(self, pool: Pool, number: int, pid: int = CHILD) -> None:
        answers = SimpleNamespace(_reader=SimpleNamespace(poll=lambda _: pool.is_unread))
        self._worker_pid, self._write_to = pid, SimpleNamespace(dead=False, inqW_fd=PIPE, outq=answers)
        self._pool, self._job = pool, number

    def ready(self) -> bool:
        return self._job not in self._pool.cache

    def _set(self, part: int | None, answer: Any) -> None:
        del self._pool.cache[self._job]


class Pool:
    """A pool of one child with a running job, as far as answers are concerned; jobs that wait for a place start."""

    def __init__(self, *, most: int | None = None, memory: int | None = None, ended: int = 0, state: int = RUN) -> None:
        self.cache: dict[int, RunningJob] = {1: RunningJob(self, 1)}
        self.is_unread, self.limited, self.later = False, list[str](), list[tuple[Any, ...]]()
        self.busy, self.places, self.started = {PIPE}, LaxBoundedSemaphore(1), list[str]()
        counters = {CHILD: SimpleNamespace(value=ended)}
        results = ResultHandler(
            None, None, self.cache, None, None, self.places, None, None, lambda *what: self.busy.discard(what[-1])
        )
        self.inner = SimpleNamespace(
            _busy_workers=self.busy, _cache=self.cache, _join_exited_workers=self._join, _max_memory_per_child=memory,
            _maxtasksperchild=most, _on_hard_timeout="hard", _on_ready_counters=counters,
            _pool=[SimpleNamespace(pid=CHILD)], _putlock=self.places, _result_handler=results, _state=state,
            on_hard_timeout=lambda _: self.limited.append("hard"),
            on_soft_timeout=lambda _: self.limited.append("soft"),
            outbound_buffer=deque(),
        )  # fmt: skip
        self.places.acquire(lambda: None)
        self.handlers: dict[int, Callable[..., None]] = results.state_handlers
        hub = SimpleNamespace(call_later=lambda *what: self.later.append(what))
        next_job.answer_early(SimpleNamespace(_pool=self.inner), hub)

    def _join(self, shutdown: bool) -> list[int]:
        ended = [child for child in self.inner._pool if child.pid == CHILD]
        self.inner._pool[:] = [SimpleNamespace(pid=CHILD + 1)]
        return [0] * len(ended)

    def lose_child(self) -> None:
        """As billiard's `_maintain_pool`: it frees a place for each child that has ended."""
        for _ in self.inner._join_exited_workers():
            self.places.release()

    def wait(self, name: str) -> None:
        self.places.acquire(self.started.append, name)

    def ask(self, pid: int = CHILD) -> None:
        self.handlers[NEXT](pid)

    def end(self, number: int) -> None:
        self.handlers[READY](number, 0, (True, None), PIPE)

    def give(self, number: int) -> None:
        """The pool writes a job to the child that is not busy, which reads it."""
        assert PIPE not in self.busy
        self.busy.add(PIPE)
        self.cache[number] = RunningJob(self, number)


def test_the_next_waiting_job_starts_while_the_outcome_is_recorded_and_only_one() -> None:
    pool = Pool()
    pool.wait("second")
    pool.wait("third")
    pool.ask()
    assert pool.started == ["second"]
    pool.give(2)
    pool.end(1)
    assert (pool.started, pool.busy) == (["second"], {PIPE}), "the child has a job: its answer frees nothing"
    pool.end(2)
    assert (pool.started, pool.busy) == (["second", "third"], set())


def test_places_stay_as_many_as_there_are_children() -> None:
    pool = Pool()
    pool.wait("second")
    pool.ask()
    pool.give(2)
    pool.end(1)
    pool.end(2)
    assert pool.places.value == 1
    pool.wait("third")
    pool.wait("fourth")
    assert pool.started == ["second", "third"]


def test_an_answer_for_a_job_that_the_pool_has_given_up_leaves_no_trace() -> None:
    pool = Pool()
    pool.wait("second")
    pool.wait("third")
    pool.ask()
    del pool.cache[1]
    pool.end(1)
    assert (pool.started, len(pool.places._waiting)) == (["second"], 1)


@pytest.mark.parametrize("repeated", [1, 3])
def test_a_place_is_freed_once_however_often_a_child_asks(repeated: int) -> None:
    pool = Pool()
    for name in ("second", "third"):
        pool.wait(name)
    for _ in range(repeated):
        pool.ask()
    assert pool.started == ["second"]


@pytest.mark.parametrize(
    "pool",
    [Pool(most=1), Pool(most=5, ended=4), Pool(memory=100_000), Pool(state=CLOSE)],
    ids=["its only job", "its last job", "it may be too large", "the pool stops"],
)
def test_a_child_that_is_about_to_end_is_given_nothing(pool: Pool) -> None:
    pool.wait("second")
    pool.ask()
    assert (pool.started, pool.busy) == ([], {PIPE})
    pool.end(1)
    assert (pool.started, pool.busy) == (["second"], set())


def test_without_a_waiting_job_the_child_stays_busy_until_it_has_answered() -> None:
    pool = Pool()
    pool.ask()
    assert (pool.busy, pool.places.value) == ({PIPE}, 0)
    pool.end(1)
    assert (pool.busy, pool.places.value) == (set(), 1)


def test_a_job_that_waits_in_the_pool_itself_is_written_early_too() -> None:
    pool = Pool()
    pool.inner.outbound_buffer.append("a job that was put back")
    pool.ask()
    assert pool.busy == set()


def test_a_child_without_a_job_frees_nothing() -> None:
    pool = Pool()
    pool.wait("second")
    pool.ask(pid=12)
    assert pool.started == []


def test_a_pool_without_pipes_is_left_alone() -> None:
    threads = SimpleNamespace(_pool=SimpleNamespace())
    next_job.answer_early(threads, None)
    next_job.answer_early(SimpleNamespace(), None)
    assert vars(threads._pool) == {}


@pytest.mark.parametrize("asks", [True, False])
def test_the_end_of_a_child_frees_its_place_once(asks: bool) -> None:
    pool = Pool()
    pool.wait("second")
    pool.wait("third")
    if asks:
        pool.ask()
    pool.lose_child()
    assert (pool.started, len(pool.places._waiting)) == (["second"], 1)


def test_a_place_that_was_freed_for_the_next_job_is_not_freed_again_after_a_limit_has_ended_the_child() -> None:
    pool = Pool()
    pool.wait("second")
    pool.wait("third")
    pool.ask()
    del pool.cache[1]
    pool.end(1)
    pool.lose_child()
    assert (pool.started, len(pool.places._waiting)) == (["second"], 1)


@pytest.mark.parametrize(
    ("asks", "is_unread", "limited"),
    [(False, False, ["soft", "hard"]), (False, True, ["soft", "hard"]), (True, False, ["hard"]), (True, True, [])],
)
def test_a_limit_does_not_hit_the_job_after_its_own(asks: bool, is_unread: bool, limited: list[str]) -> None:
    pool = Pool()
    pool.wait("second")
    pool.is_unread = is_unread
    if asks:
        pool.ask()
    pool.inner.on_soft_timeout(pool.cache[1])
    pool.inner.on_hard_timeout(pool.cache[1])
    assert pool.limited == limited
    assert [what[1:] for what in pool.later] == [("hard", 1)] * (not limited)


class Usual(Task):
    """A task without hooks."""


class Mailing(Task):
    """A task that does more after its outcome."""

    def on_success(self, *_: Any) -> None:
        """Send a mail."""


class Closing(Mailing):
    """A task that inherits one hook and has the other."""

    def after_return(self, *_: Any) -> None:
        """Close what is open."""


@pytest.mark.parametrize(
    ("task", "is_eager", "asks"),
    [(Usual(), False, True), (Usual(), True, False), (Mailing(), False, False), (Closing(), False, False)],
)
def test_a_child_asks_where_nothing_but_its_answer_follows(
    task: Task, is_eager: bool, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(next_job, "current_process", lambda: SimpleNamespace(outq=SimpleNamespace(put=said.append)))
    next_job.ask(task, SimpleNamespace(is_eager=is_eager))
    assert [what for what, _ in said] == [NEXT] * asks


def test_outside_a_child_nothing_is_asked() -> None:
    next_job.ask(Usual(), SimpleNamespace(is_eager=False))
    next_job.leave_at_stop()


def test_a_child_leaves_the_job_in_its_pipe_when_the_worker_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = iter([None, "first", None, "second"])
    loop = SimpleNamespace(wait_for_job=lambda: next(jobs))
    monkeypatch.setattr(next_job, "current_process", lambda: SimpleNamespace(_target=loop))
    own = worker.begin()
    try:
        next_job.leave_at_stop()
        assert [loop.wait_for_job() for _ in range(2)] == [None, "first"]
        own.let_start(False)
        assert loop.wait_for_job() is None
        with pytest.raises(SystemExit):
            loop.wait_for_job()
    finally:
        worker.end()
