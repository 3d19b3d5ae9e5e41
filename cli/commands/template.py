"""`jobclaim template`: render template.yaml from the settings, or check that the committed one is current."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import remark
from jobclaim.cli.session import Session, pass_session

SHOWN: Final = 40


@click.command(
    epilog="""\b
Examples:
  jobclaim template                     writes template.yaml
  jobclaim template --check             for CI: exits with 4 when template.yaml does not match the settings
  jobclaim template --file - | less
"""
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 4 when the file is stale.")
@click.option(
    "--file", "path", default="template.yaml", show_default=True, help="File to write or check; - is standard output."
)
@pass_session
def command(session: Session, check: bool, path: str) -> None:
    """Render the CloudFormation template from the settings.

    Does not call AWS: the template is a function of the settings alone, so that it can be committed and reviewed.
    """
    from jobclaim.infra.render import render

    rendered = render(session.settings)
    if path == "-":
        click.echo(rendered, nl=False)
        return
    file = Path(path)
    current = file.read_text(encoding="utf-8") if file.exists() else ""
    if check:
        _compare(file, current, rendered)
        return
    if current != rendered:
        file.write_text(rendered, encoding="utf-8")
    remark(f"{path}: {'unchanged' if current == rendered else 'written'}")


def _compare(file: Path, current: str, rendered: str) -> None:
    if current == rendered:
        remark(f"{file} matches the settings.")
        return
    lines = list(difflib.unified_diff(current.splitlines(), rendered.splitlines(), f"{file}", "settings", lineterm=""))
    for line in lines[:SHOWN]:
        click.echo(line)
    if len(lines) > SHOWN:
        remark(f"... {len(lines) - SHOWN} more lines")
    remark(f"{file} is {'stale' if current else 'missing'}: run `jobclaim template`, review the change and commit it.")
    click.get_current_context().exit(ExitCode.CHECK_FAILED)
