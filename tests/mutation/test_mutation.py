"""The tool itself: what it changes, and that a changed function is what everybody calls."""

from __future__ import annotations

import os

import pytest

from tests.mutation.operators import changes
from tests.mutation.survivors import explained
from tests.mutation.swap import swap

PATH = "jobs/protocol/claims.py"
SOURCE = """def f(a: int, b: int = 1) -> int:
    \"\"\"Not changed.\"\"\"
    if a < b and not b:
        log.info("never changed", a=a, b=b)
        return g(a, one=1, two=2)
    return a + b
"""


def test_each_place_is_changed_once_and_what_is_only_told_is_not() -> None:
    names = [change.name for change in changes("m.py", SOURCE)]

    assert len(names) == len(set(names)) == 12
    assert any("a < b -> a <= b" in name for name in names)
    assert any("g(a, one=1)" in name for name in names)
    assert not any("never changed" in name for name in names)


def test_the_changed_module_keeps_its_lines() -> None:
    assert {change.text.count("\n") for change in changes("m.py", SOURCE)} == {SOURCE.count("\n")}


def test_a_changed_function_is_what_everybody_calls() -> None:
    from pathlib import Path

    from jobclaim.jobs.protocol.claims import ClaimBook

    change = next(one for one in changes(PATH, Path(PATH).read_text()) if "ClaimBook.take_doubt" in one.name)
    child = os.fork()
    if child == 0:
        before = ClaimBook.take_doubt.__code__
        swap(change, PATH)
        os._exit(0 if ClaimBook.take_doubt.__code__ is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_change_outside_of_functions_is_not_made_silently() -> None:
    with pytest.raises(LookupError):
        swap(changes("jobs/clock.py", "A = 1 < 2\n")[0], "jobs/clock.py")


def test_every_survivor_has_a_reason() -> None:
    assert all(explained().values())
