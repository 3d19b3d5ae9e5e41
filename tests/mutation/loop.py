"""One process that has collected all tests forks for each change: the child makes it and runs what reaches it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.mutation.operators import Change
from tests.mutation.swap import swap

SURVIVED, NOTICED = 0, 10
CPU_SECONDS: Final = 10.0
SECONDS: Final = 600.0
"""A test that takes more time of the processor, or a child that waits for longer, has noticed: it does not end."""


class Loop:
    """A plugin of pytest that puts changes to the test in place of running the tests once.

    Parameters
    ----------
    trials : iterator
        Each change with its path and the names of the tests that reach it.
    told : callable
        Gets each change and who noticed it; "" for nobody.
    """

    def __init__(
        self,
        trials: Iterator[tuple[Change, str, Sequence[str]]],
        told: Callable[[Change, str], None],
        *,
        seeds: int,
        note: Path,
    ) -> None:
        self._trials = trials
        self._told = told
        self._seeds = seeds
        self._note = note
        self._failed = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all trials."""
        items = {item.nodeid: item for item in session.items}
        for change, path, names in self._trials:
            self._told(change, self._trial(change, path, [items[name] for name in names if name in items]))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the first test that fails."""
        if report.failed:
            self._failed = self._failed or report.nodeid

    def _trial(self, change: Change, path: str, items: list[pytest.Item]) -> str:
        self._note.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os._exit(self._in_child(change, path, items))
        status = _wait(child, time.monotonic() + SECONDS)
        if status == SURVIVED:
            return ""
        by = self._note.read_text() if self._note.exists() else ""
        return by or ("it does not end" if status is None or status < 0 else "it does not run")

    def _in_child(self, change: Change, path: str, items: list[pytest.Item]) -> int:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        swap(change, path)
        for item, after in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                self._note.write_text(self._failed)
                return NOTICED
        signal.setitimer(signal.ITIMER_PROF, 60 * CPU_SECONDS)
        if self._seeds and (rule := rule_broken(self._seeds)):
            self._note.write_text(f"simulation: {rule}")
            return NOTICED
        return SURVIVED


def rule_broken(seeds: int) -> str:
    """Run seeds of the simulation; name the first promise that is broken."""
    from tests.simulation.run import run
    from tests.simulation.scenario import Scenario

    for seed in range(seeds):
        if rule := run(Scenario.of(seed)).rule:
            return f"{rule} (seed {seed})"
    return ""


def _wait(child: int, until: float) -> int | None:
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def hunt(
    arguments: list[str],
    trials: Iterator[tuple[Change, str, Sequence[str]]],
    told: Callable[[Change, str], None],
    *,
    seeds: int,
    note: Path,
) -> Any:
    """Collect the tests and run all trials; gives pytest's exit code."""
    plugin = Loop(trials, told, seeds=seeds, note=note)
    return pytest.main([*arguments, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[plugin])
