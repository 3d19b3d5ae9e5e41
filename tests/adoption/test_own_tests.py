"""The sample projects' own tests pass before and after, and one's by both of pytest's commands, without AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adoption.building import clean_environment, run
from tests.adoption.diffs import GUIDES
from tests.adoption.host import copy_host

COMMANDS = {"pytest": ["pytest", "-q"], "python -m pytest": ["python", "-m", "pytest", "-q"]}


def environment(venv_python: Path) -> dict[str, str]:
    return {**clean_environment(), "VIRTUAL_ENV": str(venv_python.parents[1])}


@pytest.mark.parametrize(
    ("host", "command"), [*((host, "pytest") for host in GUIDES), ("plain_proj", "python -m pytest")]
)
def test_an_adopted_projects_own_tests_pass(host: str, command: str, venv_python: Path, tmp_path: Path) -> None:
    """Takes up to 25 s: the project's own tests run in an environment into which the wheel was installed."""
    program, *words = COMMANDS[command]
    copy = copy_host(host, tmp_path, adopted=True)
    said = run([venv_python.parent / program, *words], cwd=copy, env=environment(venv_python))
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.parametrize("host", GUIDES)
def test_they_passed_before(host: str, venv_python: Path, tmp_path: Path) -> None:
    copy = copy_host(host, tmp_path, adopted=False)
    assert " passed" in run([venv_python, "-m", "pytest", "-q"], cwd=copy, env=environment(venv_python))


def test_djangos_own_runner_passes(venv_python: Path, tmp_path: Path) -> None:
    copy = copy_host("django_shop", tmp_path, adopted=True)
    run([venv_python, "manage.py", "test", "--verbosity", "0"], cwd=copy, env=environment(venv_python))
