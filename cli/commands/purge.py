"""`jobclaim purge`: cancel all waiting jobs of a queue."""

from __future__ import annotations

from typing import Any

import click

from jobclaim.cli.commands.cancel import by_filter
from jobclaim.cli.output import output_option, remark
from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  jobclaim purge reports --dry-run
  jobclaim purge reports --reason "sent twice" --yes
  jobclaim purge reports --rate 50 -o json --yes
"""
)
@click.argument("queue")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled, and change nothing.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Maximum number of jobs.")
@click.option("--rate", type=click.FloatRange(min=0.01), help="Maximum jobs per second.")
@click.option("--reason", default="its queue was purged by a person", show_default=True, help="Stored with each job.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@output_option
@pass_session
def command(session: Session, /, queue: str, **options: Any) -> None:
    """Cancel all jobs of QUEUE that wait now, including those that are due later or wait for a resume. They stay in the
    table as CANCELLED, with the reason; to run one after all, submit it again.

    Running jobs continue. Jobs submitted during the purge are kept; `jobclaim pause queue` makes them wait.

    Messages stay in SQS on purpose: when a worker receives one of a cancelled job, the claim is refused and the message
    deleted. SQS's own purge would also delete the messages of jobs submitted during the purge, which recovery would
    have to send again, and those of plain Celery tasks, which are stored nowhere else.

    Exits with 5 when only some jobs could be cancelled, and with 130 when it was interrupted.
    """
    criteria: dict[str, Any] = {"task": "", "worker_id": "", "id_pattern": "", "since": None, "submitted_after": None}
    criteria |= {"submitted_before": None, "states": ("PENDING",), "everything": False, "queue": queue}
    code = by_filter(session, {**criteria, **options}, verb="purge")
    if not options["dry_run"]:
        remark(f"Messages of queue {queue} stay in SQS until workers drop them; `jobclaim queues` counts them.")
    click.get_current_context().exit(code)
