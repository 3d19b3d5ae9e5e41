"""docs/guarantees.md names tests that exist, a limit or a test for every promise, and the figures of the simulation."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pytest

from bench import verified
from jobclaim.settings import Settings
from jobclaim.verify.checks import Evidence, evaluate
from tests.simulation.scenario import SKEW_MS, simulated_settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", TEXT)))
CHECKED = {rule.code for rule in evaluate(Evidence(planned=0, accepted=[], jobs={}, starts=[]))}
PROMISES = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| **")]


@lru_cache(maxsize=64)
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    assert (ROOT / path).exists(), f"{path} is named in docs/guarantees.md and does not exist"
    assert name in functions_in(path), f"{path} has no {name}; find the test that shows the promise now"


@pytest.mark.parametrize("row", PROMISES, ids=[row[0].strip("|* ")[:40] for row in PROMISES])
def test_every_promise_has_a_test(row: list[str]) -> None:
    assert len(row) == 4, "a row is a promise, its limit, its tests and its checks"
    assert "::test_" in row[2]


@pytest.mark.parametrize("row", PROMISES, ids=[row[0].strip("|* ")[:40] for row in PROMISES])
def test_every_promise_has_a_check_from_outside(row: list[str]) -> None:
    named = re.findall(r"`([a-z-]+)`", row[3])
    assert named
    assert set(named) <= CHECKED, "these are the checks of `jobclaim verify`"


def test_every_check_from_outside_belongs_to_a_promise() -> None:
    named = {code for row in PROMISES for code in re.findall(r"`([a-z-]+)`", row[3])}
    assert named == CHECKED - {"audit", "faults"}, "these two are about the run as a whole"


@pytest.mark.parametrize("row", PROMISES, ids=[row[0].strip("|* ")[:40] for row in PROMISES])
def test_every_promise_says_for_which_paths_it_holds(row: list[str]) -> None:
    assert row[1].startswith(("Both paths", "`JobTask` only")), "a claim of plain task code is promised it too, or not"


def test_the_last_long_run_is_that_of_its_report() -> None:
    report = verified.REPORT.read_text()
    assert verified.written(TEXT, report) == TEXT, "run python -m bench.verified"
    states = dict(re.findall(r"\| `([a-z-]+)` \| [\d,]+ \| (\w+) \|", verified.section(report)))
    assert set(states) <= CHECKED
    assert set(states.values()) == {"held"}


@pytest.mark.parametrize(
    ("page", "report"),
    [("no markers", "# Title\n\n| promise |\n\n## Figures\n"), (f"{verified.BEGIN}{verified.END}", "# Another page\n")],
)
def test_a_page_without_markers_and_a_report_without_promises_are_refused(page: str, report: str) -> None:
    with pytest.raises(ValueError, match=r"lacks the lines|not a report"):
        verified.written(page, report)


def test_the_clocks_are_those_of_the_simulation_and_of_the_settings() -> None:
    simulated, real = simulated_settings(False, False), Settings(_env_file=None)

    assert f"wrong by up to {SKEW_MS // 1000} s" in TEXT
    assert f"a grace of {simulated.lease_grace_seconds} s" in TEXT
    assert f"lost after {simulated.worker_dead_after_seconds} s" in TEXT
    assert f"`lease_grace_seconds` ({real.lease_grace_seconds})" in TEXT


def test_the_time_after_which_a_job_that_nobody_claims_is_given_up_is_that_of_the_settings() -> None:
    settings = Settings(_env_file=None)
    waits = [settings.redispatch_delay("default", n) for n in range(1, settings.max_dispatches + 1)]
    *_, hours = (seconds / 3600 for seconds in accumulate(waits))

    assert f"`max_dispatches` ({settings.max_dispatches}) messages, {hours:.0f} hours by default" in TEXT
