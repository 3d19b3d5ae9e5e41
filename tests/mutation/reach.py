"""Which tests run which lines of the code that is to be changed: noted once, by a trace, while the tests pass."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

Lines = dict[str, dict[int, list[str]]]
"""By path and line, the tests that run it, the fastest first."""


class Recorder:
    """A plugin of pytest that notes the lines of some files that each test runs."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self._now: set[tuple[str, int]] = set()
        self._failed: set[str] = set()
        self.reached: dict[str, set[tuple[str, int]]] = {}
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace one test with its fixtures."""
        self._now, began = set(), time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
        if item.nodeid not in self._failed:
            self.reached[item.nodeid] = self._now
            self.seconds[item.nodeid] = time.monotonic() - began

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that fails without any change notices nothing."""
        if report.failed:
            self._failed.add(report.nodeid)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        path = self._files.get(frame.f_code.co_filename)
        if path is None:
            return None
        now = self._now

        def line(frame: FrameType, event: str, arg: Any) -> Any:
            now.add((path, frame.f_lineno))
            return line

        now.add((path, frame.f_lineno))
        return line

    def lines(self) -> Lines:
        """Give the tests of each line, the fastest first."""
        found: Lines = defaultdict(lambda: defaultdict(list))
        for test in sorted(self.reached, key=lambda name: self.seconds[name]):
            for path, number in self.reached[test]:
                found[path][number].append(test)
        return found


def note(paths: list[str], options: list[str], into: Path) -> None:
    """Run tests and write down what they reach.

    Parameters
    ----------
    paths : list of str
        Files of the code, from the top of the repository.
    options : list of str
        Of pytest.
    """
    files: dict[str, str] = {}
    for path in paths:
        files[str(Path(path).resolve())] = files[str(Path("src/jobclaim", path).absolute())] = path
    recorder = Recorder(files)
    pytest.main([*options, "-q", "-p", "no:cacheprovider"], plugins=[recorder])
    into.parent.mkdir(exist_ok=True)
    into.write_text(json.dumps(recorder.lines()))


def read(path: Path) -> Lines:
    """Read what `note` wrote."""
    found: dict[str, dict[str, list[str]]] = json.loads(path.read_text())
    return {name: {int(number): tests for number, tests in lines.items()} for name, lines in found.items()}
