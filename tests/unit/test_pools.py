"""Which pools a worker runs on: prefork and threads; everything else is refused with the remedy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import concurrency
from celery.concurrency import prefork, solo, thread
from celery.exceptions import WorkerLostError
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from jobclaim.specs import pools
from jobclaim.workers.attempt import running
from jobclaim.workers.pools import stop
from jobclaim.workers.pools.choice import choose
from jobclaim.workers.pools.threads import TaskPool
from jobclaim.workers.results import backend
from jobclaim.workers.state.worker import Worker
from tests.support.waiting import wait_until


class Custom(prefork.TaskPool):
    """A host's own pool of processes."""


class Foreign(thread.TaskPool):
    """A host's own pool of threads, whose callbacks race with the event loop."""


def worker(pool: Any, **options: Any) -> Any:
    """What Celery hands to `worker_init`'s handlers."""
    return SimpleNamespace(pool_cls=pool, options=options)


@pytest.mark.parametrize("pool", ["prefork", "processes", prefork.TaskPool, Custom])
def test_processes_stay_as_they_are(pool: Any) -> None:
    asked = worker(pool, autoscale="10,3")
    choose(asked)
    assert asked.pool_cls is pool


@pytest.mark.parametrize("pool", ["threads", "celery.concurrency.thread:TaskPool", thread.TaskPool, TaskPool])
def test_threads_become_our_own(pool: Any) -> None:
    asked = worker(pool)
    choose(asked)
    assert asked.pool_cls is TaskPool


@pytest.mark.parametrize(
    ("pool", "name"),
    [
        ("solo", "solo"),
        (solo.TaskPool, "solo"),
        ("gevent", "gevent"),
        ("eventlet", "eventlet"),  # which need not be installed
        ("celery.concurrency.solo:TaskPool", "solo"),
        (Foreign, "test_pools:Foreign"),
        ("tests.unit.test_pools:Foreign", "test_pools:Foreign"),
    ],
)
def test_every_other_pool_is_refused_with_the_remedy(pool: Any, name: str) -> None:
    with pytest.raises(SystemExit) as refused:
        choose(worker(pool))
    message = str(refused.value.code)
    for part in (f"{name}' is not supported", "-P prefork", "-P threads", "CELERY_CUSTOM_WORKER_POOL"):
        assert part in message


def test_a_custom_pool_is_judged_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(concurrency.ALIASES, "custom", "tests.unit.test_pools:Custom")
    choose(worker("custom"))
    monkeypatch.setitem(concurrency.ALIASES, "custom", "celery.concurrency.solo:TaskPool")
    with pytest.raises(SystemExit, match="'solo' is not supported"):
        choose(worker("custom"))


def test_threads_do_not_scale_by_themselves() -> None:
    with pytest.raises(SystemExit, match="--autoscale applies to processes"):
        choose(worker("threads", autoscale="10,3"))


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        (("-P", "solo"), "solo"),
        (("-Psolo",), "solo"),
        (("--pool", "gevent"), "gevent"),
        (("--pool=eventlet", "-E"), "eventlet"),
        (("-l", "INFO", "-P"), None),
        ((), None),
    ],
)
def test_the_command_line_knows_the_pool_that_is_asked_for(options: tuple[str, ...], pool: str | None) -> None:
    assert pools.asked_for(options) == pool


# --- the pool itself
@pytest.fixture
def pool() -> Iterator[TaskPool]:
    made = TaskPool(3)
    made.start()
    yield made
    made.withdraw()
    made.abandon()
    made.stop()


class Caller:
    """What a request is to the pool: it notes its callbacks and the threads that they run in."""

    def __init__(self, pool: TaskPool) -> None:
        self.pool = pool
        self.heard: list[tuple[str, Any, threading.Thread]] = []

    def call(self, target: Callable[..., Any], *args: Any, **limits: Any) -> None:
        self.pool.apply_async(
            target,
            args,
            accept_callback=lambda pid, _: self._hear("accepted", pid),
            callback=lambda value: self._hear("succeeded", value),
            error_callback=lambda info: self._hear("failed", info.exception),
            **limits,
        )

    def _hear(self, what: str, value: Any) -> None:
        self.heard.append((what, value, threading.current_thread()))

    def answers(self, count: int) -> list[tuple[str, Any]]:
        def found() -> list[tuple[str, Any]] | None:
            self.pool.answer()
            rows = [(what, value) for what, value, _ in self.heard if what != "accepted"]
            return rows if len(rows) >= count else None

        return wait_until(found, 30, f"{count} answers") or []


def test_callbacks_run_where_the_answers_are_taken(pool: TaskPool) -> None:
    caller = Caller(pool)
    caller.call(threading.current_thread)
    ((_, ran_in),) = caller.answers(1)
    assert ran_in is not threading.current_thread()
    assert {thread for _, _, thread in caller.heard} == {threading.current_thread()}
    assert caller.heard[0][:2] == ("accepted", os.getpid())


def test_no_more_threads_than_its_size_run_bodies_at_once(pool: TaskPool) -> None:
    caller, gate, most, now = Caller(pool), threading.Event(), [], []
    lock = threading.Lock()

    def body() -> None:
        with lock:
            now.append(1)
            most.append(len(now))
        gate.wait(10)
        with lock:
            now.pop()

    for _ in range(7):
        caller.call(body)
    wait_until(lambda: len(now) == 3, 30, "three bodies run")
    gate.set()
    assert len(caller.answers(7)) == 7
    assert (max(most), pool.info["threads"]) == (3, 3)


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_whatever_escapes_a_body_is_a_failure_and_the_thread_goes_on(pool: TaskPool, error: BaseException) -> None:
    caller = Caller(pool)

    def body() -> None:
        raise error

    caller.call(body)
    ((what, failure),) = caller.answers(1)
    assert what == "failed"
    failure = getattr(failure, "exc", failure)
    assert isinstance(failure, type(error) if isinstance(error, Exception) else WorkerLostError)
    caller.call(len, "four")
    assert caller.answers(2)[1] == ("succeeded", 4)


def test_a_callback_that_fails_ends_neither_the_loop_nor_the_count(pool: TaskPool) -> None:
    def broken(_: Any) -> None:
        raise KeyError("colour")

    pool.apply_async(len, ("one",), callback=broken, error_callback=broken)
    caller = Caller(pool)
    caller.call(len, "four")
    assert caller.answers(1) == [("succeeded", 4)]
    assert pool.left_behind == 0


def test_a_request_that_waits_for_a_thread_starts_when_one_is_free() -> None:
    """As with processes: what waits is known to the worker, which gives it back when it waits for too long."""
    semaphore = LaxBoundedSemaphore(1)
    pool = TaskPool(1, semaphore=semaphore)
    caller, gate = Caller(pool), threading.Event()
    semaphore.acquire(caller.call, gate.wait, 10)
    semaphore.acquire(caller.call, len, "four")
    assert len(semaphore._waiting) == 1
    gate.set()
    assert caller.answers(2) == [("succeeded", True), ("succeeded", 4)]
    pool.stop()
    assert semaphore.value == 1


def test_a_body_in_a_thread_tells_its_links_itself(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main process, which the thread is part of, leaves callbacks of the users' code to bodies."""
    monkeypatch.setattr(Worker, "owner", object())
    caller = Caller(pool)
    caller.call(backend._in_child)
    assert caller.answers(1) == [("succeeded", True)]
    assert backend._in_child() is False


def test_calls_that_wait_are_withdrawn_and_those_that_run_are_waited_for(pool: TaskPool) -> None:
    caller, gate = Caller(pool), threading.Event()
    for _ in range(5):
        caller.call(gate.wait, 10)
    wait_until(lambda: pool._calls.qsize() == 2, 30, "three bodies run")
    assert pool.withdraw() == 2
    threading.Timer(0.1, gate.set).start()
    pool.stop()
    assert [what for what, _, _ in caller.heard].count("succeeded") == 3


def test_an_abandoned_pool_waits_for_nobody(pool: TaskPool) -> None:
    caller, gate = Caller(pool), threading.Event()
    caller.call(gate.wait, 60)
    wait_until(lambda: pool._calls.qsize() == 0, 30, "the body runs")
    threading.Timer(0.1, pool.abandon).start()
    pool.stop()
    assert pool.left_behind == 1
    gate.set()


def test_the_soft_limit_is_told_once_and_in_its_own_thread_alone(pool: TaskPool) -> None:
    def body() -> list[bool]:
        attempt = running.current()
        assert attempt is not None
        before = attempt.report_limit()
        wait_until(attempt.report_limit, 30, "the limit is told")
        return [before, attempt.report_limit(), attempt.report_limit()]

    caller = Caller(pool)
    caller.call(body, soft_timeout=1)
    assert caller.answers(1) == [("succeeded", [False, False, False])]
    assert running.current() is None


# --- the end of a worker of threads
class Timers:
    """Stands in for `threading.Timer`, which would end this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        monkeypatch.setattr(threading, "Timer", self.make)

    def make(self, seconds: float, *_: Any) -> Any:
        self.seconds.append(seconds)
        return MagicMock()


def test_what_is_given_back_starts_when_the_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    timers, end = Timers(monkeypatch), stop.ThreadStop(MagicMock(), 60)
    now = 1_750_000_000_000
    first = end.available_at(now)
    assert end.available_at(now) <= first, "the end is planned once"
    assert timers.seconds == [stop.LONGEST_SECONDS + stop.SLACK_SECONDS]
    assert first - now > (timers.seconds[0] + stop.SLACK_SECONDS / 2) * 1000


@pytest.mark.parametrize(
    ("is_handled", "written", "abandoned"),
    [([True, True], True, True), ([True, False], True, False), ([True], False, False), ([], True, True)],
    ids=["all given back", "one is not", "not written yet", "nothing was held"],
)
def test_a_pool_is_abandoned_when_everything_is_given_back(
    monkeypatch: pytest.MonkeyPatch, is_handled: list[bool], written: bool, abandoned: bool
) -> None:
    Timers(monkeypatch)
    pool = MagicMock()
    end = stop.ThreadStop(pool, 60)
    requests = [MagicMock(is_handled=each, **{"job_ids.return_value": {"j"}}) for each in is_handled]
    end.supervise(requests, lambda: written)
    assert not pool.abandon.called, "no end is planned"
    end.plan()
    end.supervise(requests, lambda: written)
    assert pool.abandon.called is abandoned


def test_a_pool_is_abandoned_when_the_time_for_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    Timers(monkeypatch)
    pool = MagicMock()
    end = stop.ThreadStop(pool, 0)
    end.plan()
    end.supervise([MagicMock(is_handled=False, **{"job_ids.return_value": {"j"}})], lambda: False)
    assert pool.abandon.called


def test_a_process_whose_bodies_have_all_ended_ends_as_any_other() -> None:
    stop.ThreadStop(MagicMock(left_behind=0), 60).leave()
