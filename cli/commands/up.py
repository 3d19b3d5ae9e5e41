"""`jobclaim up`: create or update tables and queues from the settings."""

from __future__ import annotations

from typing import Final

import click

from jobclaim.cli.output import Column, Format, Output, Record, output_option, remark
from jobclaim.cli.session import Session, pass_session

STYLES: Final = {"created": "green", "changed": "yellow", "unchanged": "dim", "left": "bold yellow"}


@click.command(
    epilog="""\b
Examples:
  jobclaim up
  jobclaim up -o jsonl | grep -v unchanged
  JOBCLAIM_ENDPOINT_URL=http://127.0.0.1:5000 jobclaim up
"""
)
@output_option
@pass_session
def command(session: Session, output: Format | None) -> None:
    """Create or update the tables, the queues and their dead-letter queues.

    Safe to run any number of times; deletes nothing. Reports what was created or changed, and what was skipped and why.
    """
    from jobclaim.infra import provision

    report = provision(session.settings)
    records = [
        {"resource": row.resource, "kind": row.kind, "action": row.action, "detail": row.detail} for row in report.rows
    ]
    Output(output, id_field="resource").many(records, COLUMNS, empty="The settings name no tables and no queues.")
    changed, left = len(report.of("created", "changed")), len(report.of("left"))
    remark(
        f"{changed} created or changed, {len(report.of('unchanged'))} unchanged, {left} not changed although they "
        "differ."
    )


def _style(row: Record) -> str:
    return STYLES[row["action"]]


COLUMNS: Final = (
    Column("resource", lambda row: str(row["resource"])),
    Column("kind", lambda row: str(row["kind"]), fold=False),
    Column("action", lambda row: str(row["action"]), _style, fold=False),
    Column("detail", lambda row: str(row["detail"]), "dim"),
)
