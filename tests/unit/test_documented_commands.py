"""Every `jobclaim` line in the README, the docs and the helps is one that the command line takes; and those that only
look are run against a local AWS, their output compared in shape.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli.catalog import COMMANDS
from cli.exits import ExitCode
from cli.main import jobclaim
from cli.session import Session
from tests.unit.test_cli_jobs import aws, failed, run, session

__all__ = ["aws", "session"]  # fixtures
ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^\s*(?:\$ )?(?:eval \"\$\()?(jobclaim [a-z].*)$", re.MULTILINE)
MENTION = " (mentioned)"
INLINE = re.compile(r"`(jobclaim [a-z][^`]*)`")


def lines() -> Iterator[tuple[str, str]]:
    """Find the documented lines: where, and the line; one in running text may leave arguments out."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        blocks = "\n".join(re.findall(r"```(?:sh|bash|console|yaml)?\n(.*?)```", text, re.DOTALL))
        yield from ((path.name, line) for line in LINE.findall(blocks))
        yield from ((f"{path.name}{MENTION}", line) for line in INLINE.findall(text))
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text()
    yield from ((".pre-commit-hooks.yaml", line) for line in re.findall(r"entry: (jobclaim .*)", hooks))
    for name in COMMANDS:
        for command in commands(jobclaim.get_command(click.Context(jobclaim), name)):
            for line in LINE.findall((command.epilog or "").replace("\b", "")):
                yield f"jobclaim {name} --help", line


def commands(command: click.Command | None) -> Iterator[click.Command]:
    """Give a command and those below it."""
    assert command is not None
    yield command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from commands(below)


def words_of(line: str) -> list[str]:
    """Split a line as a shell would, up to where another program or a comment begins."""
    line = re.split(r"\s+#|\s\s+[a-z]|\s\|\s|\s>\s|\s&$|\)\"$", line.replace("...", ""))[0]
    return [word for word in shlex.split(line) if word][1:]


def parsed(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse as the command line does, without running."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            name, below, rest = command.resolve_command(context, rest)
            assert below is not None, name
            parsed(below, rest, context)


LINES = sorted(set(lines()))


def test_there_are_documented_lines() -> None:
    assert len(LINES) > 40
    assert {words_of(line)[0] for _, line in LINES} >= set(COMMANDS) - {"template", "doctor", "bench", "dashboard"}


@pytest.mark.parametrize(("where", "line"), LINES, ids=[f"{where}: {line}"[:90] for where, line in LINES])
def test_a_documented_line_is_one_that_the_command_line_takes(
    where: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    try:
        parsed(jobclaim, words_of(line))
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
        pass  # --help, or a group alone
    except click.MissingParameter:
        if not where.endswith(MENTION):
            raise


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (("list",), {"job_id", "status", "task", "queue", "attempt"}),
        (("list", "-s", "FAILED"), {"job_id", "failure", "history"}),
        (("queues",), {"queue", "visible", "waiting", "sla_burn"}),
        (("schedule", "list"), {"name", "task", "when", "next"}),
        (("schedule", "next", "-n", "3"), {"at", "name", "task"}),
        (("up",), {"resource", "kind", "action"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_that_looks_has_its_shape_in_every_format(
    session: Session, arguments: tuple[str, ...], fields: set[str], output: str
) -> None:
    failed(session)
    session.repo.create_job("shop.charge")
    result = run(session, *arguments, "-o", output)
    assert result.exit_code == ExitCode.OK, result.output
    if output == "table":
        assert len(result.stdout.splitlines()) >= 3
        return
    rows: list[dict[str, Any]]
    if output == "json":
        rows = json.loads(result.stdout)["items"]
    else:
        rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows
    assert all(fields <= row.keys() for row in rows)


def test_no_color_and_a_pipe_mean_no_escape_codes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(session)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "")
    for arguments in (("list", "-s", "FAILED", "-o", "table"), ("show", "nobody")):
        assert "\x1b" not in CliRunner().invoke(jobclaim, list(arguments), obj=session, color=True).output
