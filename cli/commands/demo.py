"""`jobclaim demo`: a demonstration on real processes, in under a minute."""

from __future__ import annotations

from pathlib import Path

import click

from jobclaim.cli.output import Format, Output, report_option


@click.command(
    epilog="""\b
Examples:
  jobclaim demo
  jobclaim demo --keep ./demo     keep the logs and the evidence
  jobclaim demo -o json | jq .figures
"""
)
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="New directory for logs and evidence.")
@report_option
def command(keep: Path | None, output: Format | None) -> None:
    """Run 100 jobs on real Celery workers and an embedded AWS while faults are injected, and check the outcome.

    30 messages are delivered twice, one is lost, and a worker is killed in the middle of two jobs. The figures are
    counted from logs, table and queues; the exit code is 0 only when every guarantee held, 1 otherwise.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(
            f"{str(keep)!r} is not empty; name a new directory, so that the evidence of two runs is not mixed",
            param_hint="--keep",
        )
    from jobclaim.cli.demo.play import play

    click.get_current_context().exit(play(Output(output), keep.resolve() if keep else None))
