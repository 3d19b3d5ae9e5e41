"""A project with one of each fault, and its twin without any: each is found once, at its place; none is invented."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from jobclaim.cli.exits import ExitCode
from jobclaim.governance.audit_rules import RULES as AUDIT_RULES
from jobclaim.governance.schedule_rules import RULES as SCHEDULE_RULES
from tests.support import warm

FIXTURES = Path(__file__).parents[1] / "fixtures"
MARK = re.compile(r"# fault: ([\w-]+)")
NEEDS_THE_APP = {"unrouted", "unused-queues"}
ELSEWHERE = {"only-app-tasks"}
"""A project has this or `mixed-decorators`; tests/unit has it."""
NEEDS_THE_SOURCE = {"never-firing"}
"""Celery refuses such a crontab, so no app has one."""
NO_PLACE = {"unused-queues"}
"""Checks whose finding is about the running app alone."""
WITH_APP = ["--app", "shop.celery:app"]
Seen = Counter[tuple[str, str]]


def checked(project: str, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Run a check in a project's folder as its developer does; give exit code and findings."""
    env = {**os.environ, "PYTHONPATH": str(FIXTURES.parents[1])}
    done = warm.run([sys.executable, "-m", "jobclaim", *arguments], cwd=FIXTURES / project, env=env)
    assert done.returncode in (ExitCode.OK, ExitCode.CHECK_FAILED), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def marked(rules: set[str]) -> Seen:
    """Read the marks in the faulty project: check and place."""
    found: Seen = Counter()
    for path in sorted((FIXTURES / "faulty").rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for check in set(MARK.findall(line)) & rules:
                place = f"{path.relative_to(FIXTURES / 'faulty')}:{number}"
                found[check, "" if check in NO_PLACE else place] += 1
    return found


CHECKS = [
    (["schedule", "validate", *WITH_APP], set(SCHEDULE_RULES) - NEEDS_THE_SOURCE),
    (["schedule", "validate", "--static", "."], set(SCHEDULE_RULES) - NEEDS_THE_APP),
    (["audit", *WITH_APP, "."], set(AUDIT_RULES)),
    (["audit", "--static", "."], set(AUDIT_RULES) - NEEDS_THE_APP),
]


def test_every_rule_has_its_fault_in_the_project() -> None:
    every = set(SCHEDULE_RULES) | set(AUDIT_RULES)
    assert {check for check, _ in marked(every)} == every - ELSEWHERE


@pytest.mark.parametrize(("arguments", "rules"), CHECKS, ids=[" ".join(arguments) for arguments, _ in CHECKS])
def test_each_fault_is_found_once_at_its_place_and_nothing_else(arguments: list[str], rules: set[str]) -> None:
    code, found = checked("faulty", *arguments)
    assert code == ExitCode.CHECK_FAILED
    places = [(row["check"], place) for row in found for place in row["places"] or [""]]
    assert Counter(places) == marked(rules)
    assert all(row["problem"] and row["fix"] for row in found)


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in CHECKS], ids=" ".join)
def test_nothing_is_found_in_the_clean_twin(arguments: list[str]) -> None:
    assert checked("clean", *arguments) == (ExitCode.OK, [])
