"""`jobclaim trail`: who did what, by command line, dashboard, API or Python."""

from __future__ import annotations

import click

from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Past


@click.command(
    epilog="""\b
Examples:
  jobclaim trail
  jobclaim trail --what 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11
  jobclaim trail --who ada --verb retry --since 1d
  jobclaim trail --since 7d -o jsonl | jq -r .arn
"""
)
@click.option("--who", default="", help="Part of the name, of the AWS identity's ARN, or its AWS user id.")
@click.option("--verb", default="", help="What was done: retry, cancel, dead queue redrive, ...")
@click.option("--what", default="", help="Part of what it was done to, such as a job id.")
@click.option("--since", type=Past(), help="Only actions since then: 2h, 7d, yesterday, 14:30; UTC.")
@click.option("--until", type=Past(), help="Only actions before that time.")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@output_option
@pass_session
def command(
    session: Session,
    who: str,
    verb: str,
    what: str,
    since: int | None,
    until: int | None,
    limit: int,
    output: Format | None,
) -> None:
    """Show the audit trail, newest first: actions by command line, dashboard, API and Python.

    "by" is the name that the person gave; "aws" is the AWS identity whose credentials were used. At most 1,000
    entries are read; the last line says when there may be more.
    """
    from jobclaim.cli.commands.dead.columns import AUDIT_COLUMNS
    from jobclaim.fleet.audit import LOOKED_AT, Audit, AuditFilter
    from jobclaim.views.records import audit_record

    audit_filter = AuditFilter(who=who, verb=verb, what=what, since=since or 0, until=until or 0)
    found = Audit.of(session.repo).find(audit_filter, limit=limit)
    Output(output, id_field="what").many(
        [audit_record(entry) for entry in found.entries],
        AUDIT_COLUMNS,
        empty="No matching entry is in the audit trail.",
    )
    if found.after is not None and found.looked_at >= LOOKED_AT:
        remark(f"Looked through {found.looked_at} entries; older ones may match too: narrow --since and --until")
    elif found.after is not None:
        remark(f"There are more than {limit}: raise --limit, or narrow the search")
