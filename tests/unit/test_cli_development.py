"""`jobclaim dev` before its processes start: what it says about tasks, and what it waits for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from jobclaim.cli.commands.dev import running
from jobclaim.settings import Settings


def told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Give what is printed, and what is remarked."""
    aws = SimpleNamespace(endpoint_url="http://127.0.0.1:1", environment=dict, settings=settings)
    running._print_environment(aws)  # type: ignore[arg-type]
    return capsys.readouterr()


def test_an_app_of_ones_own_is_not_said_to_lack_tasks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOBCLAIM_APP", raising=False)
    assert "No task modules are set" in told(Settings(), capsys)[1]
    monkeypatch.setenv("JOBCLAIM_APP", "proj")
    printed, remarked = told(Settings(), capsys)
    assert "No task modules are set" not in remarked
    assert printed == "export JOBCLAIM_APP=proj\n"


def test_a_task_module_that_is_missing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    turns: list[float] = []

    def write_it(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 2:
            (tmp_path / "written_late.py").write_text("raise AssertionError('it is not imported')\n")

    running.wait_for_modules(["json", "written_late"], sleep=write_it)
    assert len(turns) == 2
    assert capsys.readouterr().err.count("Waiting for 'written_late'") == 1


def test_no_waiting_where_all_modules_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    running.wait_for_modules(["json", "jobclaim.workers"], sleep=lambda _: pytest.fail("it waits"))
    assert capsys.readouterr().err == ""
