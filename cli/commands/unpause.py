"""`jobclaim unpause`: end the pause of a queue, a task or a schedule."""

from __future__ import annotations

import click

from jobclaim.cli.output import Format, Output, remark, report_option
from jobclaim.cli.pausing import KINDS, subject_of
from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim unpause queue email
  jobclaim unpause task billing.charge --reason "prices are right again"
  jobclaim unpause schedule nightly -o json
"""
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--reason", default="", help="Why; stored in the audit trail.")
@click.option("--by", default="", help="Who ends it; default: the user of this machine.")
@report_option
@pass_session
def command(session: Session, kind: str, name: str, reason: str, by: str, output: Format | None) -> None:
    """End a pause: workers continue within one heartbeat.

    The messages of a paused queue are still there, unless it was paused for longer than SQS keeps them (4 days). The
    next recovery pass sends expired messages, and those of a paused task, again.
    """
    from jobclaim.fleet.pauses import unpause
    from jobclaim.fleet.person import whoami
    from jobclaim.views.pauses import pause_record

    ended = unpause(session.repo, subject_of(kind, name), by=by or whoami(), reason=reason)
    Output(output).fact(pause_record(ended, session.now()), f"{ended.subject} is no longer paused")
    remark(f"The fleet resumes within {session.settings.heartbeat_seconds:g} s.")
