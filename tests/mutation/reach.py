"""Which tests, and which seeds of the simulation, run which lines of the code: noted once, by a trace."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper, cache, lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest

from tests.mutation.scope import IN_MODEL

Lines = dict[str, dict[int, list[str]]]
"""By path and line, the tests that run it, the fastest first, and then the seeds."""
SEED: Final = "seed:"
"""What the name of a seed begins with, where names of tests stand."""
SEEDS: Final = 60
SLOW_SECONDS: Final = 6.0
"""A test that takes longer, under the trace, is not used: many others reach what it reaches."""


class Recorder:
    """A plugin of pytest that notes the lines of some files that each test runs."""

    def __init__(self, files: dict[str, str], seeds: int) -> None:
        self._files = files
        self._seeds = seeds
        self._left: dict[CodeType, set[int]] = {}
        self._failed: set[str] = set()
        self.reached: dict[str, set[tuple[str, int]]] = {}
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace one test with its fixtures."""
        with self._noting(item.nodeid):
            yield

    def pytest_sessionfinish(self) -> None:
        """Trace the seeds, where the tests have imported everything."""
        from tests.simulation.run import run
        from tests.simulation.scenario import Scenario

        for seed in range(self._seeds):
            with self._noting(f"{SEED}{seed}"):
                run(Scenario.of(seed))

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        for cached in _caches(len(sys.modules)):
            cached.cache_clear()  # what is remembered from the test before would not be run
        self._left, began = {}, time.process_time()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
        seconds = time.process_time() - began
        if name not in self._failed and seconds < SLOW_SECONDS:
            self.reached[name] = {
                (self._files[code.co_filename], number)
                for code, left in self._left.items()
                for number in _lines(code) - left
            }
            self.seconds[name] = seconds

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that fails without any change notices nothing."""
        if report.failed:
            self._failed.add(report.nodeid)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self._files:
            return None
        left = self._left.get(code)
        if left is None:
            left = self._left[code] = set(_lines(code))
        left.discard(frame.f_lineno)

        def line(frame: FrameType, event: str, arg: Any) -> Any:
            left.discard(frame.f_lineno)
            return line

        return line if left else None

    def lines(self) -> Lines:
        """Give the tests of each line, the fastest first."""
        found: Lines = defaultdict(lambda: defaultdict(list))
        for test in sorted(self.reached, key=lambda name: (name.startswith(SEED), self.seconds[name])):
            for path, number in self.reached[test]:
                found[path][number].append(test)
        return found


@lru_cache(maxsize=1)
def _caches(_modules: int) -> list[Any]:
    """Give the cached functions of the product, as far as it is imported."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("jobclaim.")]
    return [value for module in ours for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)]


@cache
def _lines(code: CodeType) -> frozenset[int]:
    return frozenset(number for _, _, number in code.co_lines() if number is not None)


def note(paths: list[str], options: list[str], into: Path, *, beside: bool = False) -> None:
    """Run tests and write down what they reach.

    Parameters
    ----------
    paths : list of str
        Files of the code, from the top of the repository.
    options : list of str
        Of pytest.
    beside : bool
        Keep what is known of other tests.
    """
    files: dict[str, str] = {}
    for path in paths:
        files[str(Path(path).resolve())] = files[str(Path("src/jobclaim", path).absolute())] = path
    os.environ[IN_MODEL] = "1"
    recorder = Recorder(files, 0 if beside else SEEDS)
    pytest.main([*options, "-q", "-p", "no:cacheprovider"], plugins=[recorder])
    into.parent.mkdir(parents=True, exist_ok=True)
    found = recorder.lines()
    for path, lines in (read(into) if beside and into.exists() else {}).items():
        for number, tests in lines.items():
            found[path][number] = list(dict.fromkeys([*found[path][number], *tests]))
    write(found, into)


def write(lines: Lines, into: Path) -> None:
    """Write the map with each test's name once: there are hundreds on a line."""
    names = sorted({test for file in lines.values() for tests in file.values() for test in tests})
    place = {name: at for at, name in enumerate(names)}
    found = {
        path: {number: [place[test] for test in tests] for number, tests in file.items()}
        for path, file in lines.items()
    }
    into.write_text(json.dumps({"tests": names, "lines": found}))


def read(path: Path) -> Lines:
    """Read what `note` wrote."""
    found = json.loads(path.read_text())
    names: list[str] = found["tests"]
    return {
        path: {int(number): [names[at] for at in tests] for number, tests in file.items()}
        for path, file in found["lines"].items()
    }
