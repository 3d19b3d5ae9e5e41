"""One process that has collected all tests forks for each change: the child makes it and runs what reaches it."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import pytest

from tests.mutation.operators import Change
from tests.mutation.reach import SEED
from tests.mutation.scope import IN_MODEL
from tests.mutation.swap import CannotBeMade, swap

SURVIVED, NOTICED, NOT_MADE = 0, 10, 11
CPU_SECONDS: Final = 5.0
SECONDS: Final = 600.0
"""A test that takes more time of the processor, or a child that waits for longer, has noticed: it does not end."""
FAST_SECONDS: Final = 4.0
"""Time of the processor after which a change that meets only some of its tests is set aside."""

Trial = tuple[Change, str, Sequence[str]]
"""A change, its path, and the names of the tests and seeds that reach it."""


class Loop:
    """A plugin of pytest that puts changes to the test in place of running the tests once.

    Parameters
    ----------
    told : callable
        Gets each change and who noticed it; "" for nobody, ``None`` where it could not be made.
    most : int, optional
        Tests that are run for a change at most, and a fifth as many seeds; default all.
    """

    def __init__(
        self, trials: Iterable[Trial], told: Callable[[Change, str | None], None], *, most: int | None
    ) -> None:
        self._trials = trials
        self._told = told
        self._most = most
        self._keen: Counter[tuple[str, str]] = Counter()
        self._failed = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all trials."""
        items = {item.nodeid: item for item in session.items}
        gc.freeze()  # a child that collects would copy the memory that it shares
        for change, path, names in self._trials:
            by = self._trial(change, path, items, self._chosen(path, _expanded(names, items)))
            self._keen[path, by or ""] += 1
            self._told(change, by)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the first test that fails."""
        if report.failed:
            self._failed = self._failed or report.nodeid

    def _chosen(self, path: str, names: Sequence[str]) -> list[str]:
        """Put first what has noticed changes of the file before; then the fastest, and seeds after tests."""
        keen = sorted(names, key=lambda name: -self._keen[path, name])
        tests = [name for name in keen if not name.startswith(SEED)]
        seeds = [name for name in keen if name.startswith(SEED)]
        return [*tests[: self._most], *seeds[: self._most and self._most // 5]]

    def _trial(self, change: Change, path: str, items: dict[str, pytest.Item], names: list[str]) -> str | None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._be_child(change, path, items, names, writing)
        os.close(writing)
        status = _wait(child, time.monotonic() + SECONDS)
        os.set_blocking(reading, False)  # what the child had started may hold the other end
        with os.fdopen(reading, "rb", buffering=0) as told:
            by = (told.read() or b"").decode() if status == NOTICED else ""
        if status == NOT_MADE:
            return None
        endless = status is None or status < 0
        return by or ("it does not end" if endless else "")  # where the tool itself fails, nothing has noticed

    def _be_child(
        self, change: Change, path: str, items: dict[str, pytest.Item], names: list[str], writing: int
    ) -> NoReturn:
        status = 1
        try:
            os.setpgid(0, 0)
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(quiet, stream)
            swap(change, path)
            by = self._noticed_by(items, names)
            os.write(writing, by.encode())
            status = NOTICED if by else SURVIVED
        except CannotBeMade:
            status = NOT_MADE
        finally:
            os._exit(status)

    def _noticed_by(self, items: dict[str, pytest.Item], names: list[str]) -> str:
        chosen = [items[name] for name in names if name in items]
        began = time.process_time()
        for item, after in zip(chosen, [*chosen[1:], None], strict=False):
            if self._most and time.process_time() - began > FAST_SECONDS:
                return ""
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return self._failed
        return next(filter(None, map(_broken_by, [name for name in names if name.startswith(SEED)])), "")


def _expanded(names: Sequence[str], items: Iterable[str]) -> list[str]:
    """Put a file's tests in the place of the file."""
    found: list[str] = []
    for name in names:
        found += (
            [name] if "::" in name or name.startswith(SEED) else [one for one in items if one.startswith(f"{name}::")]
        )
    return found


def _broken_by(name: str) -> str:
    """Run a seed of the simulation; give its name where it breaks a promise."""
    from tests.simulation.run import run
    from tests.simulation.scenario import Scenario

    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    return name if run(Scenario.of(int(name.removeprefix(SEED)))).rule else ""


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
    trials: Iterator[Trial],
    told: Callable[[Change, str | None], None],
    *,
    most: int | None = None,
) -> Any:
    """Collect the tests and run all trials; gives pytest's exit code."""
    os.environ[IN_MODEL] = "1"
    plugin = Loop(trials, told, most=most)
    return pytest.main([*arguments, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[plugin])
