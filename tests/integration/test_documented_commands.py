"""Every command that README, docs, hooks and helps show is run against a local AWS; its output is compared in shape."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping

import pytest

from tests.conftest import FAKE_AWS
from tests.integration.documented_shapes import Scenario
from tests.integration.documented_table import ELSEWHERE, NOT_HERE, SCENARIOS
from tests.integration.documented_world import FORKED, Run, World, documented_world
from tests.support.documented import ROOT, documented

LINES: dict[str, list[str]] = {}
for _one in documented():
    LINES.setdefault(_one.line.removesuffix(" ..."), []).append(_one.where)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all of them, in the order of the table."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "JOBCLAIM_")):
                patch.delenv(name)
        for name, value in FAKE_AWS.items():
            patch.setenv(name, value)
        with documented_world(tmp_path_factory.mktemp("documented")) as made:
            yield made


def test_every_documented_line_has_exactly_one_scenario() -> None:
    for line, where in LINES.items():
        homes = (line in SCENARIOS) + (line in ELSEWHERE) + sum(line.startswith(start) for start in NOT_HERE)
        assert homes == 1, f"{', '.join(where)} shows {line!r}, which has {homes} rows in documented_table.py"
    assert LINES.keys() >= SCENARIOS.keys(), sorted(SCENARIOS.keys() - LINES.keys())
    assert LINES.keys() >= ELSEWHERE.keys(), sorted(ELSEWHERE.keys() - LINES.keys())


def test_what_is_left_to_other_tests_is_run_there() -> None:
    for line, file in ELSEWHERE.items():
        programs = r"jobclaim (?:--app \S+ )?|make |python -m (?:\w+\.)+|celery -A \S+ (?:jobs )?"
        [name] = re.findall(rf"(?:{programs})(\w+)", line)
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text()), line


@pytest.mark.parametrize("line", SCENARIOS)
def test_a_documented_line_does_what_its_readers_expect(world: World, line: str) -> None:
    scenario = SCENARIOS[line]
    names = (scenario.setup(world) if scenario.setup else None) or {}
    run = played(world, scenario, spoken(line, names))
    assert run.returncode == scenario.exit, run.stdout + run.stderr
    scenario.shape(world, run)
    if scenario.columns:
        drawn = world.run(*words(f"{spoken(line, names)} -o table"), answer=scenario.answer)
        head = next(row for row in drawn.stdout.splitlines() if row.strip())
        assert all(title in head for title in scenario.columns), head


def spoken(line: str, names: Mapping[str, str]) -> str:
    """Put what is there in the place of the documentation's examples."""
    for name, value in names.items():
        line = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", value, line)
    return line


def words(line: str) -> list[str]:
    """Split a line into program and arguments."""
    return shlex.split(line)


def played(world: World, scenario: Scenario, line: str) -> Run:
    """Run a line: until a signal, by a shell, or in a fork."""
    if scenario.until:
        process = world.start(line)
        process.wait_for_line(scenario.until, 60)
        process.send(scenario.by)
        return Run(words(line), process.wait_for_exit(30), process.log(), "")
    if line.startswith("export "):
        name, _, value = words(line)[1].partition("=")
        return world.run("jobclaim", "up", env={name: value})
    if not line.startswith(FORKED) or " < " in line:
        return world.shell(line)
    first, into, rest = re.split(r"( [|>] )", line, maxsplit=1) if re.search(" [|>] ", line) else (line, "", "")
    run = world.run(*words(first), answer=scenario.answer)
    if not into or run.returncode:
        return run
    return world.shell(rest if into == " | " else f"cat > {rest}", given=run.stdout)
