"""`jobclaim dead`: list, retry, resolve and abandon dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration, Moment, Past
from jobclaim.fleet.person import whoami

if TYPE_CHECKING:
    from jobclaim.recovery.dead import DeadLetters, Filter, Verb

KINDS: Final = ("TRANSIENT", "EXTERNAL", "CONFIGURATION", "PERMANENT", "TIMEOUT", "ORPHANED")
OPEN: Final = ("WAITING", "SCHEDULED")
STATES: Final = (*OPEN, "RESOLVED", "ABANDONED")
STATE: Final = "State of the dead letters; may be repeated. Default: WAITING and SCHEDULED."


@click.group(
    epilog="""\b
Examples:
  jobclaim dead stats
  jobclaim dead list --groups
  jobclaim dead retry --fingerprint 5f1c8f3e2a57 --rate 100 --reason "the bank is back"
  jobclaim dead abandon --task shop.charge --failed-before 2030-01-31T08:00:00Z --dry-run
  jobclaim dead queue list                  messages that never became a job
"""
)
def command() -> None:
    """Show dead letters; retry, resolve or abandon them.

    A dead letter is a FAILED job. SCHEDULED: recovery starts it again automatically, by the kind of its failure.
    WAITING: a person must decide. RESOLVED and ABANDONED: nothing is left to do.
    """


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a filter to a command."""
    for option in (
        click.option("--failed-before", type=Past(), help="Failed before this time: 2h ago, yesterday, 14:30; UTC."),
        click.option("--failed-after", type=Past(), help="Failed since this time."),
        click.option("--since", type=Past(), help="Failed since then: 10m, 2h ago, yesterday, 14:30; UTC."),
        click.option("--fingerprint", default="", help="Fingerprint: same kind, exception and place in the code."),
        click.option("--exception", default="", help="Type of the exception; the class name is enough."),
        click.option("--kind", type=click.Choice(KINDS, case_sensitive=False), help="Kind of the failure."),
        click.option("-q", "--queue", default="", help="Queue of the job."),
        click.option("-t", "--task", default="", help="Task of the job."),
    ):
        function = option(function)
    return function


def filter_of(session: Session, options: dict[str, Any], states: tuple[str, ...] = ()) -> Filter:
    """Build a filter of the options. Its window always has an end: a repeated command selects the same jobs."""
    from jobclaim.jobs.model import DeadState
    from jobclaim.recovery.dead import OPEN_STATES, Filter

    if options["since"] is not None and options["failed_after"] is not None:
        raise click.UsageError("--since and --failed-after exclude each other; pass one of them")
    if options["queue"]:
        session.settings.queue(options["queue"])
    since = options["since"] if options["since"] is not None else options["failed_after"] or 0
    return Filter(
        task=options["task"],
        queue=options["queue"],
        kind=(options["kind"] or "").upper(),
        exception=options["exception"],
        fingerprint=options["fingerprint"],
        since=since,
        until=options["failed_before"] or session.now(),
        states=tuple(DeadState(state.upper()) for state in states) or OPEN_STATES,
    )


def letters(session: Session) -> DeadLetters:
    """Return the dead letters of a session, with its app to send retried jobs."""
    from jobclaim.recovery.dead import DeadLetters
    from jobclaim.workers.submission.dispatch import publish

    return DeadLetters(session.repo, send=lambda job, delay: publish(session.app, job, delay))


@command.command(
    "list",
    epilog="""\b
Examples:
  jobclaim dead list
  jobclaim dead list --groups
""",
)
@filters
@click.option("-s", "--state", "states", multiple=True, type=click.Choice(STATES, case_sensitive=False), help=STATE)
@click.option("-g", "--groups", is_flag=True, help="One line for each fingerprint.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@output_option
@pass_session
def list_(
    session: Session, /, states: tuple[str, ...], groups: bool, limit: int, output: Format | None, **options: Any
) -> None:
    """List dead letters, or the groups of them; by default those that are WAITING or SCHEDULED."""
    from itertools import islice

    from jobclaim.cli.commands.dead.columns import COLUMNS, GROUP_COLUMNS
    from jobclaim.views.records import group_record, job_record

    selection = filter_of(session, options, states)
    if groups:
        rows = [group_record(group) for group in letters(session).groups(selection)[:limit]]
        Output(output, id_field="fingerprint").many(rows, GROUP_COLUMNS(session.now()), empty="No dead letters.")
        return
    found = list(islice(letters(session).find(selection), limit + 1))
    records = [job_record(job) for job in found[:limit]]
    Output(output).many(records, COLUMNS(session.now()), empty="No dead letters.")
    if len(found) > limit:
        remark(f"More than {limit}: raise --limit, narrow the filter, or use --groups")


@command.command(
    epilog="""\b
Examples:
  jobclaim dead show 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11
"""
)
@click.argument("job_id")
@click.option("--payload", is_flag=True, help="Show the arguments too.")
@output_option
@click.pass_context
def show(ctx: click.Context, job_id: str, payload: bool, output: Format | None) -> None:
    """Show one dead letter: every attempt, every decision and the traceback. Same as `jobclaim show`."""
    from jobclaim.cli.commands.show import command as show_job

    ctx.invoke(show_job, job_id=job_id, payload=payload, output=output)


@command.command(
    epilog="""\b
Examples:
  jobclaim dead stats
"""
)
@filters
@click.option("--window", type=Duration(), default="1h", show_default=True, help="Length of each time window.")
@output_option
@pass_session
def stats(session: Session, /, window: int, output: Format | None, **options: Any) -> None:
    """Count dead letters by state, kind, task, queue and time of failure.

    The rows "automatic retries" ignore the filter. They count the automatic retries of all tasks in the last day: how
    many completed, how many failed again, and the percentage that completed.
    """
    from jobclaim.cli.commands.dead.columns import STAT_COLUMNS
    from jobclaim.recovery.dead.healing import healing
    from jobclaim.views.records import healing_records, stat_records

    counts = letters(session).stats(filter_of(session, options, STATES), window_ms=window)
    rows = [*stat_records(counts), *healing_records(healing(session.repo))]
    Output(output, id_field="value").many(rows, STAT_COLUMNS, empty="No dead letters.")


@command.command(
    epilog="""\b
Examples:
  jobclaim dead audit
"""
)
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@output_option
@pass_session
def audit(session: Session, limit: int, output: Format | None) -> None:
    """Show which user retried, resolved, abandoned, redrove or discarded what, newest first."""
    from jobclaim.cli.commands.dead.columns import AUDIT_COLUMNS
    from jobclaim.fleet.audit import Audit
    from jobclaim.views.records import audit_record

    rows = [audit_record(entry) for entry in Audit.of(session.repo).entries(limit=limit)]
    Output(output, id_field="what").many(rows, AUDIT_COLUMNS, empty="The audit trail is empty.")


RETRY = """\b
Examples:
  jobclaim dead retry --fingerprint 5f1c8f3e2a57 --rate 100 --reason "the bank is back"
  jobclaim dead retry --task shop.charge --delay 2h --yes
  jobclaim dead retry --task shop.charge --state RESOLVED --dry-run
"""
RESOLVE = """\b
Examples:
  jobclaim dead resolve 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --reason "paid by hand"
"""
ABANDON = """\b
Examples:
  jobclaim dead abandon --task shop.charge --dry-run
"""


def _when(verb: Verb) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--at`` and ``--delay`` if the verb is a retry; other verbs have no start."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        if verb != "retry":
            return function
        at = click.option("--at", type=Moment(), help="Earliest start of the jobs, ISO 8601.")
        delay = click.option("--delay", type=Duration(), help="Delay until the earliest start: 90, 10s, 5m, 2h, 1d.")
        return delay(at(function))

    return add


def _act(verb: Verb, text: str, states: Sequence[str], examples: str) -> None:
    @command.command(verb, help=text, epilog=examples)
    @click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
    @filters
    @click.option("-s", "--state", "states", multiple=True, type=click.Choice(states, case_sensitive=False), help=STATE)
    @click.option(
        "--all",
        "everything",
        is_flag=True,
        help="All dead letters in --state, instead of job ids or a filter.",
    )
    @click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
    @click.option("-n", "--limit", type=click.IntRange(min=1), help="Maximum number of jobs.")
    @click.option("--rate", type=click.FloatRange(min=0.01), help="Maximum jobs per second.")
    @click.option("--reason", default="", help="Stored with each job and in the audit trail.")
    @click.option("--by", default="", help="Name stored with the decision; default: the user of this machine.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
    @_when(verb)
    @output_option
    @pass_session
    def act(session: Session, /, job_ids: tuple[str, ...], **options: Any) -> None:
        click.get_current_context().exit(_run(session, verb, job_ids, options))


def _run(session: Session, verb: Verb, job_ids: tuple[str, ...], options: dict[str, Any]) -> int:
    from jobclaim.cli.bulk import print_progress
    from jobclaim.cli.commands.dead.acting import preview, print_plan, print_report
    from jobclaim.recovery.dead import ActReport

    selection = job_ids if _by_ids(verb, job_ids, options) else filter_of(session, options, options["states"])
    dead, limit, out = letters(session), options["limit"], Output(options["output"])
    at, delay = options.get("at"), options.get("delay")
    if at is not None and delay is not None:
        raise click.UsageError("--at and --delay exclude each other; pass one of them")
    count = preview(dead, selection, verb, limit)
    if options["dry_run"]:
        print_plan(dead, selection, verb, count, limit, out)
        return ExitCode.OK
    if not count:
        return print_report(verb, ActReport(), out)
    if not job_ids and not options["yes"]:
        click.confirm(f"{verb.capitalize()} them?", abort=True, err=True)
    report = dead.act(
        verb,
        selection,
        by=options["by"] or whoami(),
        reason=options["reason"],
        limit=limit,
        rate=options["rate"],
        at=session.now() + delay if delay is not None else at,
        progress=print_progress(verb),
        on_done=out.id if out.is_ids else None,
    )
    return print_report(verb, report, out)


def _by_ids(verb: Verb, job_ids: tuple[str, ...], options: dict[str, Any]) -> bool:
    """Return whether the jobs are named by their ids; raise unless they are named in exactly one way."""
    narrowed = any(options[name] for name in ("task", "queue", "kind", "exception", "fingerprint", "since"))
    narrowed = narrowed or options["failed_after"] is not None or options["failed_before"] is not None
    narrowed = narrowed or bool(options["states"] and not options["everything"])
    if bool(job_ids) + narrowed + options["everything"] != 1 or (job_ids and options["states"]):
        raise click.UsageError(f"name the jobs to {verb} in exactly one way: by their ids, by a filter, or by --all")
    return bool(job_ids)


_act("retry", "Retry dead letters, with their full number of attempts.", STATES, RETRY)
_act("resolve", "Mark dead letters as resolved, because their work was done by hand or elsewhere.", OPEN, RESOLVE)
_act("abandon", "Mark dead letters as no longer wanted.", OPEN, ABANDON)


def _add_queue() -> None:
    from jobclaim.cli.commands.dead.queues import queue

    command.add_command(queue)


_add_queue()
