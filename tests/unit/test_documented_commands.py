"""Every `jobclaim` line in the README, the docs and the helps is one that the command line takes, and what looks
have one shape in every format. That each line does what it says is shown in tests/integration, on a running deployment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobclaim.cli.catalog import COMMANDS
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.cli.session import Session
from tests.support.documented import Documented, documented, of_page
from tests.unit.test_cli_jobs import aws, failed, make_session, run, session

__all__ = ["aws", "make_session", "session"]  # fixtures
PAGE = """
`jobclaim show ID` tells more; `os.fork` does not.

    make demo     # indented

```python
jobclaim = 1
```
```sh
$ jobclaim list \\
    --status FAILED   # which
jobclaim up && sam build
celery -A jobclaim worker &
```
```yaml
  - run: jobclaim audit src/
  - jobclaim schedule validate
```
"""


def parsed(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse as the command line does, without running."""
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, click.Group):
            rest = [*context._protected_args, *context.args]
            if command.invoke_without_command and not rest:
                return
            name, below, rest = command.resolve_command(context, rest)
            assert below is not None, name
            parsed(below, rest, context)


LINES = [one for one in documented() if one.words and one.words[0] == "jobclaim"]


def test_lines_are_found_in_every_way_in_which_pages_show_them() -> None:
    assert [one.line for one in of_page("page", PAGE)] == [
        "make demo",
        "jobclaim list --status FAILED",
        "jobclaim up",
        "sam build",
        "celery -A jobclaim worker",
        "jobclaim audit src/",
        "jobclaim schedule validate",
        "jobclaim show ID",
    ]


def test_every_page_that_shows_commands_is_read() -> None:
    assert {"README.md", "deploy.md", "failures.md", "workers.md", "operations.md"} <= {one.where for one in LINES}
    assert {one.words[1] for one in LINES} >= set(COMMANDS)


@pytest.mark.parametrize("one", LINES, ids=[f"{one.where}: {one.line}"[:90] for one in LINES])
def test_a_documented_line_is_one_that_the_command_line_takes(
    one: Documented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    try:
        parsed(command_line, one.words[1:])
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
        pass  # --help, or a group alone
    except click.MissingParameter:
        if not one.mentioned:
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
        assert "\x1b" not in CliRunner().invoke(command_line, list(arguments), obj=session, color=True).output
