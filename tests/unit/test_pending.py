"""Numbers that a process adds up and writes now and then, without a request per number."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Any

import pytest

from jobclaim.jobs import AlreadySubmitted, JobRepo
from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.storage import pending
from jobclaim.jobs.storage.counters import Counters
from jobclaim.jobs.storage.pending import Pending, write_all
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
    monkeypatch.setattr(pending, "writes_by_itself", lambda clock: clock is system_clock)
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
        wait_until(lambda expected=expected: written.numbers["a"] == expected, 10, "written")  # type: ignore[misc]


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
