"""Signals to the children of a pool, and which of them have ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import CLOSE, RUN

from jobclaim.workers.process.children import Children

LONGEST_SECONDS = 30


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is ended."""
    with subprocess.Popen(["sleep", "600"]) as made:
        yield made
        made.kill()


def pool_of(*pids: int | None, state: int = RUN) -> Any:
    """Make a prefork pool with these children; its own way to end them is `os.kill`."""
    inner = SimpleNamespace(_pool=[SimpleNamespace(pid=pid) for pid in pids], _state=state)
    return SimpleNamespace(_pool=inner, terminate_job=os.kill)


def test_a_child_is_frozen_and_resumed(child: subprocess.Popen[bytes]) -> None:
    found = Children(pool_of(child.pid))
    assert found.freeze(child.pid) is True
    assert next_of(child, os.WSTOPPED) == os.CLD_STOPPED
    found.thaw(child.pid)
    assert next_of(child, os.WCONTINUED) == os.CLD_CONTINUED
    assert found.living() == [child.pid]


def next_of(process: subprocess.Popen[bytes], state: int) -> int | None:
    """Wait until a process stops or continues, and return what it did; at its end at the latest."""
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(os.waitid, os.P_PID, process.pid, state | os.WEXITED | os.WNOWAIT)
        try:
            return found.si_code if (found := seen.result(LONGEST_SECONDS)) else None
        finally:
            if not seen.done():
                process.kill()


ENDS: dict[str, tuple[Callable[[Children, int], Any], int]] = {
    "asked to end": (lambda found, pid: found.ask_to_end(pid), signal.SIGTERM),
    "killed": (lambda found, pid: found.kill(pid), signal.SIGKILL),
    "ended gently by a closing pool": (lambda found, pid: found.end_now([pid], gently=True), signal.SIGTERM),
    "ended at once by a closing pool": (lambda found, pid: found.end_now([pid], gently=False), signal.SIGKILL),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_child_is_ended(child: subprocess.Popen[bytes], how: str) -> None:
    end, number = ENDS[how]
    found = Children(pool_of(child.pid))
    if how == "asked to end":
        found.freeze(child.pid)
    end(found, child.pid)
    assert child.wait(LONGEST_SECONDS) == -number


def test_a_child_that_has_ended_is_known_before_the_pool_reaps_it(child: subprocess.Popen[bytes]) -> None:
    closing, pids = Children(pool_of(None, child.pid, state=CLOSE)), [None, child.pid]
    assert (closing.living(), closing.left(), closing.have_ended(pids)) == ([child.pid], [child.pid], False)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):  # to look at it does not reap it
        assert (closing.living(), closing.left(), closing.have_ended(pids)) == ([], [], True)
    assert child.wait(LONGEST_SECONDS) == -signal.SIGKILL
    assert closing.freeze(child.pid) is False
    assert closing.have_ended(pids) is False, "a process that is none of ours any more"


def test_no_child_is_left_over_while_the_pool_works(child: subprocess.Popen[bytes]) -> None:
    assert Children(pool_of(child.pid)).left() == []


POOLS = {
    "threads": SimpleNamespace(_pool=SimpleNamespace(_pool=[SimpleNamespace(pid=1)], _state=CLOSE)),
    "not started": SimpleNamespace(_pool=None, terminate_job=None),
    "nothing": SimpleNamespace(),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_other_pools_have_no_children(pool: Any) -> None:
    assert (Children(pool).living(), Children(pool).left()) == ([], [])


@pytest.mark.parametrize(
    ("pool", "pid"),
    [(POOLS["threads"], 1), (pool_of(), os.getpid()), (pool_of(), None)],
    ids=["threads", "the process itself", "not started"],
)
def test_no_signal_goes_to_what_is_no_child(pool: Any, pid: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *given: signals.append(given))
    found = Children(pool)
    assert not found.freeze(pid)
    found.ask_to_end(pid)
    found.kill(pid)
    assert not found.have_ended([pid])
    assert signals == []
