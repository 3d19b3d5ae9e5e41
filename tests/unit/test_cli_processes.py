"""Child processes end by their own handle, with everything that they started."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobclaim.cli import processes
from jobclaim.cli.processes import Child, end_all, signals_as_interrupt, start_child
from tests.support.waiting import wait_until

PARENT = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
try:
    time.sleep(60)
finally:
    if "careless" not in sys.argv:
        child.kill()
"""


class Lines(list[str]):
    """Collects what a child says."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def started() -> Iterator[list[Child]]:
    """Collect the children of a test, and end them whatever happens."""
    children: list[Child] = []
    yield children
    for child in children:
        child.kill()


def start(started: list[Child], *arguments: str) -> tuple[Child, int]:
    """Start a process that has a child of its own; give both."""
    lines = Lines()
    child = Child("parent", [sys.executable, "-c", PARENT, *arguments], env=os.environ, output=lines)
    started.append(child)
    wait_until(lambda: lines, 20, "the parent names its child")
    return child, int(lines[0].split()[1])


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def has_ended(child: Child) -> bool:
    """Whether its leader has ended."""
    return child.exit_status() is not None


def test_kill_takes_the_whole_group(started: list[Child]) -> None:
    child, grandchild = start(started)
    child.kill()
    assert child.exit_status() == -signal.SIGKILL
    wait_until(lambda: not is_alive(grandchild), 30, "the grandchild is gone")


def test_end_asks_first(started: list[Child]) -> None:
    child, grandchild = start(started)
    child.end()
    assert child.exit_status() == -signal.SIGTERM
    wait_until(lambda: not is_alive(grandchild), 30, "the grandchild is gone")


def test_end_kills_who_does_not_listen(started: list[Child]) -> None:
    child, grandchild = start(started, "deaf")
    child.end(timeout=0.3)
    assert child.exit_status() == -signal.SIGKILL
    wait_until(lambda: not is_alive(grandchild), 30, "the grandchild is gone")


def test_what_a_dead_leader_leaves_behind_is_killed_too(started: list[Child]) -> None:
    child, grandchild = start(started, "careless")
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: child.exit_status() is not None, 30, "the leader is dead")
    assert is_alive(grandchild)
    child.end()
    wait_until(lambda: not is_alive(grandchild), 30, "the grandchild is gone")


def test_ending_twice_is_harmless(started: list[Child]) -> None:
    child, _ = start(started)
    child.end()
    end_all([child])
    assert child.exit_status() == -signal.SIGTERM


def test_all_are_asked_before_any_is_waited_for(started: list[Child]) -> None:
    deaf, _ = start(started, "deaf")
    other, _ = start(started)
    ending = threading.Thread(target=end_all, args=([deaf, other], 6.0))
    ending.start()
    wait_until(lambda: other.exit_status() is not None, 5.5, "the other one ended while the deaf one is waited for")
    assert deaf.exit_status() is None
    ending.join()
    assert deaf.exit_status() == -signal.SIGKILL


def test_a_file_gets_all_output_in_its_order(started: list[Child], tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    for _ in range(2):
        child = Child("child", [sys.executable, "-c", code], env=os.environ, output=log)
        started.append(child)
        wait_until(partial(has_ended, child), 20, "the child ends")
        child.kill()
    assert log.read_text() == "out\nerr\n" * 2
    assert child.exit_status() == 0


def test_sigterm_unwinds_like_an_interrupt_and_is_itself_again_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_within_a_destructor_is_not_lost(number: signal.Signals) -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(number)

    with signals_as_interrupt() as check:
        check()
        Dropped()
        with pytest.raises(KeyboardInterrupt):
            check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_started_at_the_moment_of_an_interrupt_is_ended_too(
    started: list[Child], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    popen = processes._popen

    def interrupted(*arguments: Any) -> Any:
        made = popen(*arguments)
        signal.raise_signal(number)
        return made

    monkeypatch.setattr(processes, "_popen", interrupted)
    with signals_as_interrupt(), pytest.raises(KeyboardInterrupt):
        start_child(started, "sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], env={}, output=Lines())
    assert [child.name for child in started] == ["sleeper"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
