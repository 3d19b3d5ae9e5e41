"""Numbers that a process adds up and writes now and then, without a request per number."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jobclaim.jobs import AlreadySubmitted, JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.storage import pending
from jobclaim.jobs.storage.counters import Counters
from jobclaim.jobs.storage.pending import LAST_SECONDS, Pending, write_all, writes_by_itself
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock
from tests.support.waiting import wait_until


class Written:
    """What was written, and whether it was the last."""

    def __init__(self) -> None:
        self.numbers: Counter[Any] = Counter()
        self.writes: list[bool] = []

    def __call__(self, numbers: Counter[Any], last: bool) -> bool:
        self.numbers.update(numbers)
        self.writes.append(last)
        return True


@pytest.fixture
def by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside of tests."""
    monkeypatch.setattr(pending, "writes_by_itself", writes_by_itself)
    monkeypatch.setattr(pending, "_by_process", {})


def test_numbers_are_written_together_when_asked() -> None:
    written = Written()
    numbers = Pending(written, every=10, clock=system_clock)
    for _ in range(3):
        numbers.add({"a": 1, "b": 2})
    assert written.writes == []
    assert numbers.flush()
    assert numbers.flush()
    assert (written.numbers, written.writes) == ({"a": 3, "b": 6}, [False])


def test_numbers_of_an_idle_process_are_written_by_themselves(by_itself: None) -> None:
    written = Written()
    numbers = Pending(written, every=0.01, clock=system_clock)
    for expected in (1, 2):
        numbers.add({"a": 1})
        wait_until(lambda expected=expected: written.numbers["a"] == expected, 30, "written")  # type: ignore[misc]


def test_what_is_pending_is_written_as_the_process_ends(by_itself: None) -> None:
    written = Written()
    numbers = Pending(written, every=1000, clock=system_clock)
    numbers.add({"a": 1})
    write_all()
    write_all()
    assert (written.numbers, written.writes) == ({"a": 1}, [True])


def test_under_a_clock_of_a_test_nothing_is_written_by_itself(by_itself: None) -> None:
    written = Written()
    Pending(written, every=0, clock=ManualClock()).add({"a": 1})
    write_all()
    assert written.writes == []


class Timer:
    """A thread's timer that the test looks at."""

    made: list[Timer]

    def __init__(self, seconds: float, write: Callable[[], Any]) -> None:
        self.seconds, self.write = seconds, write
        self.daemon = self.started = False
        self.made.append(self)

    def start(self) -> None:
        self.started = True


def test_a_batch_of_numbers_is_written_once_after_some_seconds(
    by_itself: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending.threading, "Timer", Timer)  # type: ignore[attr-defined]
    monkeypatch.setattr(Timer, "made", [], raising=False)
    written = Written()
    numbers = Pending(written, every=7, clock=system_clock)
    for batch in (1, 2):
        for _ in range(3):
            numbers.add({"a": 1})
        assert len(Timer.made) == batch
        timer = Timer.made[-1]
        assert (timer.seconds, timer.daemon, timer.started) == (7, True, True), "a process ends without waiting for it"
        timer.write()
        assert (written.numbers["a"], written.writes) == (3 * batch, [False] * batch)


class Held:
    """A lock that another thread holds for too long."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def acquire(self, *, timeout: float) -> bool:
        self.asked.append(timeout)
        return False


def test_only_an_ending_process_gives_up_on_a_write_that_does_not_end() -> None:
    written = Written()
    numbers = Pending(written, every=10, clock=system_clock)
    numbers.add({"a": 1})
    held: Any = Held()
    numbers._state().writing = held
    assert numbers.flush(last=True) is False
    assert numbers.flush() is False
    assert held.asked == [LAST_SECONDS, -1]
    assert written.writes == []


@pytest.mark.parametrize(("works", "writes"), [(True, 3), (False, 1)])
def test_an_ending_process_drops_the_rest_at_the_first_failure(by_itself: None, works: bool, writes: int) -> None:
    tried = []

    def write(_: Counter[Any], last: bool) -> bool:
        tried.append(last)
        return works

    for _ in range(3):
        Pending(write, every=1000, clock=system_clock).add({"a": 1})
    write_all()
    assert tried == [True] * writes


def test_each_process_writes_once_as_it_ends_and_a_child_of_multiprocessing_too(
    by_itself: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Any] = []
    at_end_of_child: list[tuple[Any, Any, int]] = []
    ends = SimpleNamespace(
        register=at_exit.append, unregister=lambda asked: at_exit.remove(asked) if asked in at_exit else None
    )
    forking = SimpleNamespace(Finalize=lambda of, call, exitpriority: at_end_of_child.append((of, call, exitpriority)))
    monkeypatch.setattr(pending, "atexit", ends)
    for pid, module in ((10, None), (11, forking), (12, forking)):  # each forked by the one before
        monkeypatch.setattr(pending, "os", SimpleNamespace(getpid=lambda pid=pid: pid))
        monkeypatch.setitem(sys.modules, "multiprocessing.util", module)
        for _ in range(2):
            Pending(Written(), every=1000, clock=system_clock).add({"a": 1})
        assert at_exit == [write_all]
    assert at_end_of_child == [(None, write_all, 0)] * 2


def test_threads_lose_no_number() -> None:
    written = Written()
    numbers = Pending(written, every=10, clock=system_clock)
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            numbers.flush()

    def add() -> None:
        for _ in range(500):
            numbers.add({"a": 1})

    flushing = threading.Thread(target=flush)
    adding = [threading.Thread(target=add) for _ in range(4)]
    for thread in (flushing, *adding):
        thread.start()
    for thread in adding:
        thread.join()
    stop.set()
    flushing.join()
    numbers.flush()
    assert written.numbers == {"a": 2000}


def test_a_forked_child_leaves_its_parents_numbers_to_the_parent() -> None:
    written = Written()
    numbers = Pending(written, every=10, clock=system_clock)
    numbers.add({"a": 5})
    held = numbers._state().lock
    held.acquire()  # as another thread may at the moment of the fork
    if not (pid := os.fork()):
        numbers.add({"a": 1})
        numbers.flush()
        os._exit(written.numbers["a"])
    held.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    numbers.flush()
    assert written.numbers == {"a": 5}


# --- the fleet's counts
class Refusing:
    """A client whose writes to the fleet table fail."""

    def update_item(self, **_: Any) -> None:
        raise ConnectionError("away")


def test_counts_that_cannot_be_written_are_reported_once_and_not_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counters(Refusing, "fleet", clock=ManualClock(), sleep=lambda _: None)
    for last in (False, False, True):
        counts.count("submitted")
        counts.flush(last=last)
    counts.flush()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["counts.not_written"]


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    """A repo on a table of its own."""
    return model_repo(Settings(), clock)


def counted(repo: JobRepo) -> tuple[int, int]:
    """What the fleet has counted: submissions, and duplicates among them."""
    from jobclaim.fleet.tally import Tally

    repo.flush()
    found = Tally.of(repo).read()
    return found.submitted, found.duplicates


def test_a_repo_counts_what_is_submitted_through_it(repo: JobRepo) -> None:
    for _ in range(3):
        repo.create_job("shop.charge", {"order": 1}, idempotency_key="order-1")
    repo.create_job("shop.charge", {"order": 2})
    assert counted(repo) == (4, 2)


def test_jobs_of_a_transaction_are_counted_when_they_are_written(repo: JobRepo) -> None:
    with repo.transaction() as tx:
        tx.create_job("shop.charge")
        assert counted(repo) == (0, 0)
    assert counted(repo) == (1, 0)
    with repo.transaction() as tx:
        tx.create_job("shop.charge", idempotency_key="order-1")
        tx.create_job("shop.charge")
    assert counted(repo) == (3, 0)
    with pytest.raises(AlreadySubmitted), repo.transaction() as tx:
        tx.create_job("shop.charge", idempotency_key="order-1")
    assert counted(repo) == (4, 1)
