"""`jobclaim recover`: recovery by hand, or as a process of its own."""

from __future__ import annotations

import click

from cli.humane import Duration
from cli.output import Format, output_option
from cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim recover                one pass
  jobclaim recover --every 30     a pass every 30 seconds, until Ctrl-C or SIGTERM
  jobclaim recover -o json | jq .orphaned
"""
)
@click.option("--every", type=Duration(), help="Go on, with a pass every so often: 30, 1m.")
@output_option
@pass_session
def command(session: Session, every: int | None, output: Format | None) -> None:
    """Find orphans and lost messages, and act on them: fail or retry the one, send the other again.

    Safe beside the scheduled recovery and beside itself: every action is conditional on what was read.
    """
    raise NotImplementedError
