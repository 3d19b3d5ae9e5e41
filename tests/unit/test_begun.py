"""Work whose requests are under way: finished once, by whoever wants the result first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from jobclaim.jobs.storage.begun import Begun, Reader
from tests.support.waiting import wait_until


def test_it_is_finished_once_and_by_one_thread() -> None:
    threads: list[str] = []
    entered, go = threading.Event(), threading.Event()

    def finish() -> str:
        threads.append(threading.current_thread().name)
        entered.set()
        go.wait(30)
        return "answer"

    begun = Begun(finish)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(begun.result)
        assert entered.wait(30)
        second = pool.submit(begun.result)
        assert not begun.is_done
        go.set()
        assert (first.result(), second.result(), begun.result()) == ("answer",) * 3
    assert (len(threads), begun.is_done) == (1, True)


def test_what_nobody_finishes_for_a_while_is_finished_by_the_reader() -> None:
    done: list[str] = []
    with ThreadPoolExecutor(1) as pool, Reader(pool) as reader:
        mine = reader.watch(Begun(lambda: done.append("mine")))
        mine.result()
        others = [reader.watch(Begun(lambda name=name: done.append(name))) for name in ("a", "b")]  # type: ignore[misc]
        wait_until(lambda: all(begun.is_done for begun in others), 30, "the reader finishes them")
    assert done == ["mine", "a", "b"]
    assert "reader" not in {thread.name for thread in threading.enumerate()}


def test_a_reader_that_watched_nothing_has_no_thread() -> None:
    with ThreadPoolExecutor(1) as pool, Reader(pool):
        assert "reader" not in {thread.name for thread in threading.enumerate()}
