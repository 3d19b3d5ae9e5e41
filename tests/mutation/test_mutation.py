"""The tool itself: what it changes, and that a changed function is what everybody calls."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.operators import changes
from tests.mutation.sample import EACH, TESTS
from tests.mutation.survivors import explained
from tests.mutation.swap import CannotBeMade, swap
from tests.support.stack import ROOT

PATH = "jobs/protocol/claims.py"
SOURCE = """def f(a: int, b: int = 1) -> int:
    \"\"\"Not changed.\"\"\"
    if a < b and not b:
        log.info("never changed", a=a, b=b)
        return g(a, one=1, two=2)
    return a + b
"""


def test_each_place_is_changed_once_and_what_is_only_told_is_not() -> None:
    names = [change.name for change in changes("m.py", SOURCE) if not change.rule]

    assert len(names) == len(set(names)) == 12
    assert any("a < b -> a <= b" in name for name in names)
    assert any("g(a, one=1, two=2) without two" in name for name in names)
    assert not any("never changed" in name for name in names)


def test_the_changed_module_keeps_its_lines() -> None:
    assert {change.text.count("\n") for change in changes("m.py", SOURCE)} == {SOURCE.count("\n")}


def test_a_changed_function_is_what_everybody_calls() -> None:
    from jobclaim.jobs.protocol.claims import ClaimBook

    change = next(one for one in changes(PATH, Path(PATH).read_text()) if "ClaimBook.take_unanswered" in one.name)
    child = os.fork()
    if child == 0:
        before = ClaimBook.take_unanswered.__code__
        swap(change, PATH)
        os._exit(0 if ClaimBook.take_unanswered.__code__ is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_awaitable_generator_stays_one_beside_a_change() -> None:
    from jobclaim.workers.attempt.coroutines import AsyncBody

    path = "workers/attempt/coroutines.py"
    known = changes(path, Path(path).read_text())
    beside, inside = (next(one for one in known if name in one.name) for name in ("is_at_work", "AsyncBody._drive"))
    for change in (beside, inside):
        child = os.fork()
        if child == 0:
            before = AsyncBody._drive.__code__
            swap(change, path)
            after = AsyncBody._drive.__code__
            is_awaitable = bool(after.co_flags & inspect.CO_ITERABLE_COROUTINE)
            os._exit(0 if is_awaitable and (after is before) is (change is beside) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_change_outside_of_functions_is_not_made_silently() -> None:
    with pytest.raises(CannotBeMade):
        swap(changes("jobs/clock.py", "A = 1 < 2\n")[0], "jobs/clock.py")


@pytest.mark.thorough
def test_a_sample_of_changes_is_noticed() -> None:
    """The others are tried by hand, which takes hours: docs/guarantees.md has the score."""
    ran = sample()
    assert ran.returncode == 0, f"write a test that notices the change, or list it with the reason: {ran.stderr}"
    assert len(ran.stderr.splitlines()) == EACH * len(TESTS)


@pytest.mark.thorough
def test_a_change_that_gets_away_without_being_listed_is_a_failure() -> None:
    ran = sample("--path", "jobs/recognition.py", "tests/unit/test_jobs_claims.py")
    assert (ran.returncode, ran.stderr.count("not noticed")) == (4, EACH)


def sample(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tool on its sample."""
    argv = [sys.executable, "-m", "tests.mutation.sample", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_every_listed_survivor_has_a_reason() -> None:
    assert {name: why for name, why in explained().items() if len(why.split()) < 5} == {}
