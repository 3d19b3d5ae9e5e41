"""`jobclaim queues`: backlog of each queue, its queue wait, and the SLA used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.output import Column, Format, Output, output_option
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.watching import repeat, watch_option
from jobclaim.views.humane import span

if TYPE_CHECKING:
    from jobclaim.views.queue_status import QueueStatus


@click.command(
    epilog="""\b
Examples:
  jobclaim queues
  jobclaim queues --watch 5s
  jobclaim queues -o jsonl | jq 'select(.sla_burn > 1)'
  jobclaim queues --capacity
"""
)
@watch_option
@click.option("--capacity", is_flag=True, help="Recommend a number of processes for each queue.")
@output_option
@pass_session
def command(session: Session, watch: int | None, capacity: bool, output: Format | None) -> None:
    """Show every queue: messages in SQS, jobs in DynamoDB, the oldest waiting job, and how much of the SLA it has used.

    Reads at most the oldest 100 open jobs of each queue and index shard; a + after a count means "or more". More than
    100 % means that the SLA is missed now. --capacity also reads the workers' records, and recommends a number of
    processes for each queue from the wait of its oldest job and from how busy its workers are.
    """
    from jobclaim.infra.clients import sqs_client
    from jobclaim.views.queue_status import queue_statuses

    out, sqs = Output(output, id_field="queue"), sqs_client(session.settings)
    repeat(
        watch,
        lambda: out.many(
            _rows(session, queue_statuses(session.repo, sqs, session.settings), capacity),
            WITH_CAPACITY if capacity else COLUMNS,
            empty="No queues are configured.",
        ),
        clear=out.format == "table",
    )


def _rows(session: Session, found: list[QueueStatus], capacity: bool) -> list[dict[str, Any]]:
    from jobclaim.jobs.storage.pauses import PauseKind
    from jobclaim.views.pauses import active_record

    pauses, now = session.repo.pauses.current(), session.now()
    rows = [
        {**status.record(), "paused": active_record(pauses, PauseKind.QUEUE, status.queue, now)} for status in found
    ]
    if not capacity:
        return rows
    from dataclasses import asdict

    from jobclaim.fleet.workers import FleetRecords
    from jobclaim.views.capacity import capacity as needed

    live = FleetRecords.of(session.repo).live(session.settings.worker_dead_after_seconds)
    return [{**row, "capacity": asdict(needed(status, live))} for row, status in zip(rows, found, strict=True)]


def _messages(row: Any) -> str:
    if row["visible"] is None:
        return "does not exist: run `jobclaim up`"
    dead = f", {row['dead_letters']} dead" if row["dead_letters"] else ""
    return f"{row['visible']} visible, {row['in_flight']} in flight, {row['delayed']} delayed{dead}"


def _jobs(row: Any) -> str:
    counts = ((row["waiting"], "waiting"), (row["running"], "running"), (row["later"], "later"))
    counts_text = ", ".join(f"{count}{'+' * row['more']} {name}" for count, name in counts if count)
    return counts_text or "none open"


def _burn_style(row: Any) -> str:
    return "bold red" if row["sla_burn"] > 1 else "yellow" if row["sla_burn"] > 0.5 else "green"


def _recommended(row: Any) -> str:
    needed = row["capacity"]
    same = needed["recommended"] == needed["processes"]
    return f"{needed['recommended']}" if same else f"{needed['recommended']} instead of {needed['processes']}"


CAPACITY = [
    Column("processes", lambda row: f"{row['capacity']['busy']} of {row['capacity']['processes']} work", fold=False),
    Column("recommended", _recommended, "bold", fold=False),
    Column("why", lambda row: str(row["capacity"]["why"])),
]
COLUMNS = [
    Column("queue", lambda row: str(row["queue"]) + (" (paused)" if row["paused"] else "")),
    Column("messages in SQS", _messages, lambda row: "red" if row["dead_letters"] else ""),
    Column("jobs", _jobs),
    Column("oldest waits", lambda row: span(round(row["oldest_waiting_seconds"] * 1000)), fold=False),
    Column("of SLA", lambda row: f"{row['sla_burn']:.0%} of {row['sla_seconds']:g} s", _burn_style, fold=False),
]
WITH_CAPACITY = [*(replace(column, rank=at) for at, column in enumerate(COLUMNS)), *CAPACITY]
