"""`jobclaim pause`: hold the jobs of a queue or a task, or skip the ticks of a schedule."""

from __future__ import annotations

from typing import Any

import click

from jobclaim.cli.output import Column, Format, Output, output_option, remark, report_option
from jobclaim.cli.pausing import check_known, end_of, subject_of
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration, Moment

LINES = {
    "queue": 'jobclaim pause queue email --reason "the provider is down" --for 2h',
    "task": 'jobclaim pause task billing.charge --reason "wrong prices since the deploy"',
    "schedule": 'jobclaim pause schedule nightly --reason "migration" --until 2030-01-31T08:00:00Z',
}
"""Examples."""


@click.group(
    epilog="\b\nExamples:\n  " + "\n  ".join([*LINES.values(), "jobclaim pause list", "jobclaim unpause queue email"])
)
def command() -> None:
    """Pause a queue, a task or a schedule, or list what is paused.

    The whole fleet honors a pause within one heartbeat (JOBCLAIM_HEARTBEAT_SECONDS). Running jobs continue. Jobs of a
    paused queue or task are still accepted; they stay PENDING, use up no attempt, and start when the pause ends, unless
    their `expires` has passed by then. A paused schedule's ticks are skipped and not submitted later.
    """


def _pause(kind: str, text: str) -> None:
    @command.command(
        kind,
        help=text,
        epilog=f"\b\nExamples:\n  {LINES[kind]}",
    )
    @click.argument("name")
    @click.option("--reason", required=True, help="Why; shown wherever the pause is.")
    @click.option("--until", type=Moment(), help="When it ends by itself, such as 2030-01-31T08:00:00Z.")
    @click.option("--for", "duration", type=Duration(), help="The same as a duration, such as 30m, 2h or 1d.")
    @click.option("--by", default="", help="Who pauses it; default: the user of this machine.")
    @click.option("--unknown", is_flag=True, help="Pause a name that neither the settings nor a live worker know.")
    @report_option
    @pass_session
    def run(
        session: Session,
        name: str,
        reason: str,
        until: int | None,
        duration: int | None,
        by: str,
        unknown: bool,
        output: Format | None,
    ) -> None:
        from jobclaim.fleet.pauses import pause
        from jobclaim.fleet.person import whoami
        from jobclaim.views.pauses import pause_in_words, pause_record

        subject, now = subject_of(kind, name), session.now()
        end = end_of(until, duration, now)
        if not unknown:
            check_known(session, subject)
        pause_ = pause(session.repo, subject, by=by or whoami(), reason=reason, until=end)
        words = pause_in_words(pause_, now)
        Output(output).fact(pause_record(pause_, now), words[0].upper() + words[1:])
        remark(f"The fleet honors it within {session.settings.heartbeat_seconds:g} s; `jobclaim unpause` ends it.")


_pause("queue", "Pause a queue: workers do not receive its messages, and its jobs stay PENDING.")
_pause("task", "Pause a task on every queue: its jobs stay PENDING, even if task code claims them.")
_pause("schedule", "Pause a schedule: beat skips its ticks.")


@command.command(
    "list",
    epilog="""\b
Examples:
  jobclaim pause list
  jobclaim pause list --ended -o json
""",
)
@click.option("--ended", is_flag=True, help="Also show pauses that ended within a week.")
@output_option
@pass_session
def list_(session: Session, ended: bool, output: Format | None) -> None:
    """Show what is paused: by whom, since when, until when, and why. One read of one small record."""
    from jobclaim.fleet.pauses import PauseRecords
    from jobclaim.views.pauses import pause_record

    now, known = session.now(), PauseRecords.of(session.repo).read()
    rows = [pause_record(one, now) for one in (known.known if ended else known.active(now))]
    Output(output, id_field="name").many(rows, COLUMNS, empty="Nothing is paused.")


def _until(row: Any) -> str:
    from jobclaim.views.humane import clock_time

    end = clock_time(row["until_ms"]) if row["until_ms"] else "unpaused"
    return end + (f" by {row['ended_by']}" if row["ended_by"] else "")


def _since(row: Any) -> str:
    from jobclaim.views.humane import clock_time

    return clock_time(row["since_ms"])


COLUMNS = [
    Column("kind", lambda row: str(row["kind"]), fold=False),
    Column("name", lambda row: str(row["name"])),
    Column("state", lambda row: "paused" if row["active"] else "ended", fold=False, rank=3),
    Column("by", lambda row: str(row["by"])),
    Column("since", _since, rank=2),
    Column("until", _until),
    Column("reason", lambda row: str(row["reason"])),
]
