"""`jobclaim dead queue`: SQS's own dead-letter queues."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Column, Format, Output, output_option, remark, report_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.specs.plurals import counted
from jobclaim.views.humane import iso, relative

if TYPE_CHECKING:
    from jobclaim.recovery.dead.queues import MoveReport


@click.group(
    epilog="""\b
Examples:
  jobclaim dead queue list
  jobclaim dead queue inspect reports
  jobclaim dead queue redrive reports --reason "the release is rolled back"
"""
)
def queue() -> None:
    """Inspect, redrive or discard messages that never became a job."""


@queue.command(
    "list",
    epilog="""\b
Examples:
  jobclaim dead queue list
""",
)
@output_option
@pass_session
def list_(session: Session, /, output: Format | None) -> None:
    """Count the messages of every dead-letter queue."""
    from jobclaim.recovery.dead.queues import DeadQueues

    rows = [asdict(found) for found in DeadQueues(session.settings).all()]
    columns = [
        Column("queue", lambda row: str(row["queue"])),
        Column("dead-letter queue", lambda row: str(row["name"])),
        Column("messages", lambda row: str(row["messages"]), "bold", fold=False),
        Column("inspected now", lambda row: str(row["in_flight"]), fold=False, rank=1),
    ]
    Output(output, id_field="queue").many(rows, columns, empty="No dead-letter queues exist; run `jobclaim up`.")


@queue.command(
    epilog="""\b
Examples:
  jobclaim dead queue inspect reports
"""
)
@click.argument("name", metavar="QUEUE")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@output_option
@pass_session
def inspect(session: Session, name: str, limit: int, output: Format | None) -> None:
    """Show messages of a queue's dead-letter queue, and return them to it."""
    from jobclaim.recovery.dead.queues import DeadQueues

    found = DeadQueues(session.settings).inspect(name, limit=limit)
    rows = [{**asdict(message), "sent_at": iso(message.sent_at), "sent_at_ms": message.sent_at} for message in found]
    columns = [
        Column("message", lambda row: str(row["message_id"])),
        Column("sent", lambda row: relative(row["sent_at_ms"], session.now()), fold=False, rank=2),
        Column("received", lambda row: str(row["received"]), fold=False, rank=3),
        Column("bytes", lambda row: str(row["bytes"]), fold=False, rank=4),
        Column("task", lambda row: row["task"] or "-"),
        Column("job", lambda row: row["job_id"] or "-", rank=1),
        Column("reason", lambda row: row["reason"] or "-"),
    ]
    Output(output, id_field="message_id").many(rows, columns, empty="The dead-letter queue is empty.")


REDRIVE = """\b
Examples:
  jobclaim dead queue redrive reports --reason "the release is rolled back"
"""
DISCARD = """\b
Examples:
  jobclaim dead queue discard reports 7d5e2a10-93c4-4c58-b5ad-1f0e6c2b9a44 --reason "sent by a test"
"""


def _mover(verb: str, text: str, examples: str) -> None:
    @queue.command(verb, help=text, epilog=examples)
    @click.argument("name", metavar="QUEUE")
    @click.argument("message_ids", nargs=-1, metavar="[MESSAGE_ID]...")
    @click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=10_000, show_default=True)
    @click.option("--reason", default="", help="Stored in the audit trail.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
    @report_option
    @pass_session
    def move(session: Session, /, name: str, message_ids: tuple[str, ...], **options: Any) -> None:
        _run(session, verb, name, message_ids, options)


def _run(session: Session, verb: str, name: str, message_ids: tuple[str, ...], options: dict[str, Any]) -> None:
    from jobclaim.fleet.acting import acting
    from jobclaim.recovery.dead.queues import DeadQueues

    queues = DeadQueues(session.settings)
    if not options["yes"]:
        what = counted(len(message_ids), "message") if message_ids else "all messages"
        click.confirm(f"{verb.capitalize()} {what} of the dead-letter queue of {name!r}?", abort=True, err=True)
    what = f"dead-letter queue of {name}: {' '.join(message_ids) or 'all'}"
    move = queues.redrive if verb == "redrive" else queues.discard
    with acting(session.repo, verb, what=what, why=options["reason"]) as act:
        report: MoveReport = move(name, message_ids, limit=options["limit"])
        act.done, act.refused = report.done, max(0, len(message_ids) - report.done)
    missing = act.refused
    record = {"verb": verb, "queue": name, "done": report.done, "missing": missing}
    Output(options["output"]).fact(record, f"{verb}: {counted(report.done, 'message')}")
    if missing:
        remark(
            f"{missing} of the named messages were not found; another command may be reading them: try again in two "
            "minutes"
        )
        click.get_current_context().exit(ExitCode.PARTIAL if report.done else ExitCode.NOT_FOUND)


_mover("redrive", "Send messages of a dead-letter queue to their queue again: those named, otherwise all.", REDRIVE)
_mover("discard", "Delete messages of a dead-letter queue: those named, otherwise all.", DISCARD)
