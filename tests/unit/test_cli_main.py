"""The command group: what it loads, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import jobclaim.cli.main
from jobclaim.cli.catalog import COMMANDS
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from tests.support import warm
from tests.support.documented import ROOT

HEAVY = {"boto3", "botocore", "celery", "kombu", "moto", "prettytable", "pydantic", "pydantic_settings", "structlog"}


PROBE = """
import json, os, runpy, sys
import jobclaim.cli.main
for words in json.loads(sys.argv[1]):
    if os.fork() == 0:
        answers = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv[1:] = words
        try:
            runpy.run_module("jobclaim", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            assert not ended.code, ended.code
        with open(answers, "w") as line:
            print(json.dumps(sorted(sys.modules)), file=line)
        os._exit(0)
    assert os.wait()[1] == 0, words
"""
HELPS = (("--help",), ("--version",), *((name, "--help") for name in COMMANDS))


@pytest.fixture(scope="module")
def imported() -> dict[tuple[str, ...], set[str]]:
    """By command line, the modules that it has imported: each in a fork of one fresh interpreter."""
    words = [sys.executable, "-c", PROBE, json.dumps(HELPS)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    return {each: set(json.loads(line)) for each, line in zip(HELPS, run.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("arguments", HELPS)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], imported: dict[tuple[str, ...], set[str]]) -> None:
    found = {name.split(".")[0] for name in imported[arguments]}
    assert "click" in found
    assert found & HEAVY == set()


def test_the_groups_help_loads_no_command(imported: dict[tuple[str, ...], set[str]]) -> None:
    assert "jobclaim.cli.catalog" in imported["--help",]
    assert not [name for name in imported["--help",] if name.startswith("jobclaim.cli.commands")]


def below(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Give a command and all below it, each with the words that name it."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from below(each, *path, name)


def tree() -> dict[str, click.Command]:
    """Name every command, those of groups too."""
    known = {name: command_line.get_command(click.Context(command_line), name) for name in COMMANDS}
    return {path: each for name, command in known.items() if command for path, each in below(command, name)}


@pytest.mark.parametrize("path", tree())
def test_every_command_explains_itself_with_examples(path: str) -> None:
    result = CliRunner().invoke(command_line, [*path.split(), "--help"])
    assert result.exit_code == ExitCode.OK
    _, found, examples = result.output.partition("Examples:")
    assert found
    assert f"jobclaim {path}" in examples
    assert "--debug" in result.output


REPORTS_NOTHING = {"completion", "dashboard", "dashboard hash-password", "dev", "template", "worker run"}
"""They run until they are stopped, or print a text that is to be kept as it is."""


@pytest.mark.parametrize("path", sorted(tree().keys() - REPORTS_NOTHING))
def test_every_command_that_reports_something_takes_o_json(path: str) -> None:
    command = tree()[path]
    if not isinstance(command, click.Group):
        [option] = [each for each in command.params if "-o" in each.opts]
        assert isinstance(option.type, click.Choice)
        assert {"table", "json", "jsonl"} <= set(option.type.choices)


def test_the_docs_name_the_commands_that_report_nothing() -> None:
    text = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    [named] = re.findall(r"accepts `-o json`, except (.*?), which print text", text)
    assert set(re.findall(r"`(.*?)`", named)) == REPORTS_NOTHING
    assert all("-o" not in option.opts for path in REPORTS_NOTHING for option in tree()[path].params)


def test_the_help_names_every_command_with_its_line() -> None:
    output = CliRunner().invoke(command_line, ["--help"], terminal_width=200).output
    for name, line in COMMANDS.items():
        assert any(row.split() == [name, *line.split()] for row in output.splitlines()), name


@pytest.mark.parametrize(
    ("typed", "meant"), [("lst", "list"), ("recovr", "recover"), ("shwo", "show"), ("retyr", "retry")]
)
def test_an_unknown_command_answers_with_the_nearest(typed: str, meant: str) -> None:
    result = CliRunner().invoke(command_line, [typed])
    assert result.exit_code == ExitCode.USAGE
    assert f"{typed!r} is not a command. Did you mean {meant!r}?" in result.stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(command_line, ["list", "--stauts", "FAILED"]).exit_code == ExitCode.USAGE


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that runs a command which raises what it is given."""

    def run(error: BaseException, *before: str, after: tuple[str, ...] = ()) -> Result:
        @click.command()
        def command() -> None:
            raise error

        module = type("module", (), {"command": command})
        monkeypatch.setattr(jobclaim.cli.main, "import_module", lambda _: module)
        return CliRunner().invoke(command_line, [*before, "list", *after])

    return run


def test_a_missing_job_exits_with_not_found_in_one_line(failing: Any) -> None:
    from jobclaim.jobs import JobNotFound

    result = failing(JobNotFound("abc"))
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr.startswith("error: no job has the id 'abc'")
    assert len(result.stderr.splitlines()) == 1


def test_a_refusal_exits_with_error_in_one_line(failing: Any) -> None:
    from jobclaim.jobs import IllegalTransition

    result = failing(IllegalTransition("job 'a' is\nPROCESSING"))
    assert (result.exit_code, result.stderr) == (ExitCode.ERROR, "error: job 'a' is PROCESSING\n")


def test_an_unexpected_error_is_one_line_that_says_how_to_see_more(failing: Any) -> None:
    result = failing(RuntimeError("boom"))
    assert result.exit_code == ExitCode.ERROR
    assert result.stderr == "error: RuntimeError: boom; this is a bug: please report it with the output of --debug\n"


@pytest.mark.parametrize("where", [{"before": ("--debug",)}, {"after": ("--debug",)}])
def test_debug_shows_the_traceback_wherever_it_stands(failing: Any, where: dict[str, tuple[str, ...]]) -> None:
    error = RuntimeError("boom")
    result = failing(error, *where.get("before", ()), after=where.get("after", ()))
    assert result.exception is error


@pytest.mark.parametrize(
    "words", [("dead", "list"), ("dead", "queue", "list"), ("worker", "health"), ("key", "show", "t", "k")]
)
def test_debug_shows_the_traceback_of_a_command_in_a_group(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("boom")

    def settings(_: Session) -> None:
        raise error

    monkeypatch.setattr(Session, "settings", property(settings))
    result = CliRunner().invoke(command_line, [*words, "--debug"], obj=Session())
    assert result.exception is error, result.output


def test_a_module_that_cannot_be_imported_is_explained(failing: Any) -> None:
    result = failing(ModuleNotFoundError("No module named 'shop'"))
    assert result.exit_code == ExitCode.ERROR
    assert "JOBCLAIM_TASK_MODULES" in result.stderr


def test_a_broken_pipe_is_no_error_to_report(failing: Any) -> None:
    assert "error:" not in failing(BrokenPipeError(32, "Broken pipe")).stderr


def run_with(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with more environment."""
    return warm.run([sys.executable, "-m", "jobclaim", *arguments], env=os.environ | environment)


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"JOBCLAIM_MAX_ATTEMPTS": "0"}, ("max_attempts='0'", "JOBCLAIM_MAX_ATTEMPTS")),
        ({"JOBCLAIM_MAX_ATEMPTS": "3"}, ("'max_atempts'", "did you mean 'max_attempts'")),
        ({"JOBCLAIM_QUEUES": "[oops"}, ("queues", "JSON")),
        (
            {"JOBCLAIM_QUEUES": '[{"name": "default", "soft_limit": 9, "hard_limit": 3}]'},
            ("soft_limit=9", "hard_limit=3", "raise hard_limit"),
        ),
    ],
)
def test_bad_settings_are_one_line_with_field_value_and_remedy(
    environment: dict[str, str], parts: tuple[str, ...]
) -> None:
    run = run_with(environment, "list")
    assert run.returncode == ExitCode.ERROR
    assert run.stderr.startswith("error: settings: ")
    assert len(run.stderr.splitlines()) == 1
    for part in parts:
        assert part in run.stderr


@pytest.mark.parametrize("users", ['{"ann":"hunter2hunter2"}', '{"ann":{"password":"hunter2hunter2"}'])
@pytest.mark.parametrize("options", [(), ("--debug",)])
def test_a_password_among_bad_settings_is_not_shown(users: str, options: tuple[str, ...]) -> None:
    run = run_with({"JOBCLAIM_DASHBOARD_USERS": users}, "list", *options)
    assert run.returncode == ExitCode.ERROR
    assert "dashboard_users" in run.stderr
    assert "hunter2" not in run.stderr + run.stdout


def test_debug_shows_where_bad_settings_were_refused() -> None:
    run = run_with({"JOBCLAIM_MAX_ATTEMPTS": "0"}, "list", "--debug")
    assert run.returncode == ExitCode.ERROR
    assert "Traceback" in run.stderr


def test_celery_serves_the_same_commands_on_its_own_app() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "jobclaim", "jobs", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for name in COMMANDS:
        assert f"  {name} " in run.stdout
