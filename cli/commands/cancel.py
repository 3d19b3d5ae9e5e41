"""`jobclaim cancel`: cancel jobs, waiting or running, by their ids or by a filter."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.cli.times import Duration, Past

if TYPE_CHECKING:
    from jobclaim.jobs import Job
    from jobclaim.recovery.cancels import CancelReport, OpenJobs, Preview

STATES: Final = ("PENDING", "PROCESSING")
FILTERS: Final = ("task", "queue", "worker_id", "id_pattern", "since", "submitted_after", "submitted_before")
OPTIONS: Final = {
    "task": "--task",
    "queue": "--queue",
    "worker_id": "--worker",
    "id_pattern": "--id",
    "states": "--state",
    "everything": "--all",
    "rate": "--rate",
    "reason": "--reason",
}
"""Options of the command that continues an interrupted one; times are added as they were understood."""
SHOWN_AT_ONCE: Final = 20
"""Lines of a preview."""


@click.command(
    epilog="""\b
Examples:
  jobclaim cancel 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11 --reason "sent by mistake"
  jobclaim cancel --task 'report.*' --queue reports --reason "sent twice"
  jobclaim cancel --queue reports --state processing --state pending --since 2h --yes
  jobclaim cancel --task 'report.*' --dry-run -o ids
"""
)
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("-t", "--task", default="", help="Jobs of this task; * matches anything.")
@click.option("-q", "--queue", default="", help="Jobs of this queue.")
@click.option("--worker", "worker_id", default="", help="Jobs that this worker claimed last.")
@click.option("--id", "id_pattern", default="", help="Jobs with this id; * matches anything.")
@click.option("--since", type=Duration(), help="Submitted within this time: 10m, 2h, 1d.")
@click.option("--submitted-after", type=Past(), help="Submitted since this time: 14:30, yesterday, ISO 8601.")
@click.option("--submitted-before", type=Past(), help="Submitted by this time. Default: now.")
@click.option(
    "-s",
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES, case_sensitive=False),
    help="State of the jobs of a filter; may be repeated. Default: PENDING.",
)
@click.option("--all", "everything", is_flag=True, help="All open jobs in --state; instead of job ids or a filter.")
@click.option("--dry-run", is_flag=True, help="Show what would be cancelled, and change nothing.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Maximum number of jobs of a filter.")
@click.option("--rate", type=click.FloatRange(min=0.01), help="Maximum jobs of a filter per second.")
@click.option("--reason", default="cancelled by a person", show_default=True, help="Stored with a waiting job.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@output_option
@pass_session
def command(session: Session, /, job_ids: tuple[str, ...], **options: Any) -> None:
    """Cancel jobs by their ids or by a filter. The result of each is "cancelled" or "requested".

    A waiting job is cancelled at once: a message for it that arrives later is refused. For a running job, its worker
    reads the request with its next heartbeat, notifies the task, and stops it after a grace period
    (JOBCLAIM_CANCEL_GRACE_SECONDS). If the worker is lost first, recovery ends the job as cancelled.

    With a filter, the command shows how many jobs match and asks for confirmation; it never cancels a job that is
    submitted later. An interrupted command says how far it got and how to continue.

    Exits with 5 when only some jobs could be cancelled, and with 130 when it was interrupted.
    """
    narrowed = any(options[name] not in ("", None) for name in FILTERS)
    if bool(job_ids) + (narrowed or options["everything"]) != 1:
        raise click.UsageError("name the jobs to cancel in exactly one way: by their ids, by a filter, or by --all")
    if narrowed and options["everything"]:
        raise click.UsageError("--all means every job; leave out either --all or the filter")
    if job_ids:
        _by_ids(session, job_ids, options)
    else:
        click.get_current_context().exit(by_filter(session, options))


def _by_ids(session: Session, job_ids: tuple[str, ...], options: dict[str, Any]) -> None:
    from jobclaim.cli.bulk import for_each
    from jobclaim.fleet.acting import acting
    from jobclaim.workers.cancel import cancel

    repo, reason, output = session.repo, options["reason"], options["output"]
    if options["dry_run"]:
        raise click.UsageError("--dry-run is for a filter; `jobclaim show` shows a single job")

    def act(job_id: str) -> Job:
        remark(f"{job_id}: {cancel(repo, job_id, reason=reason)}")
        return repo.get_job(job_id)

    with acting(repo, "cancel", what=" ".join(job_ids), why=reason):
        for_each(job_ids, act, clock=repo.clock, out=Output(output))


def by_filter(session: Session, options: dict[str, Any], verb: str = "cancel") -> int:
    """Preview, confirm, cancel and report; ``verb`` names the act in the report and in the audit trail."""
    from jobclaim.cli.bulk import print_progress
    from jobclaim.fleet.acting import acting, recorded_elsewhere
    from jobclaim.recovery.cancels import CancelReport, Cancels

    recorded_elsewhere()  # the cancellation writes its own audit entry
    cancels, out, report = Cancels(session.repo), Output(options["output"]), CancelReport()
    selection = cancels.ending(_selection(session, options))
    _show(found := cancels.preview(selection), options["limit"])
    if options["dry_run"]:
        if out.is_ids:
            for _, job in zip(range(options["limit"] or found.count), cancels.find(selection), strict=False):
                out.id(job.job_id)
            return ExitCode.OK
        return _report(CancelReport(matched=found.count), selection, out, verb, dry_run=True)
    if found.complete and not found.count:
        return _report(report, selection, out, verb)
    if not options["yes"]:
        click.confirm("Cancel them?", abort=True, err=True)
    try:
        with acting(session.repo, verb, what=selection.what, why=options["reason"]):
            cancels.act(
                selection,
                reason=options["reason"],
                limit=options["limit"],
                rate=options["rate"],
                progress=print_progress(verb),
                on_done=out.id if out.is_ids else None,
                report=report,
            )
    except KeyboardInterrupt:
        _report(report, selection, out, verb)
        remark(f"Interrupted; what is cancelled stays so. Continue with: {_continue_command(options, selection)}")
        return ExitCode.INTERRUPTED
    return _report(report, selection, out, verb)


def _selection(session: Session, options: dict[str, Any]) -> OpenJobs:
    from jobclaim.jobs.model import JobStatus
    from jobclaim.recovery.cancels import OpenJobs
    from jobclaim.views.humane import iso
    from jobclaim.views.job_filter import JobFilter

    now, queue = session.now(), options["queue"]
    if queue:
        session.settings.queue(queue)
    since = now - options["since"] if options["since"] is not None else 0
    after = max(since, options["submitted_after"] or 0)
    # the resolved time, because `_continue_command` prints it for the command that continues this one
    options["submitted_after"] = after
    fits = JobFilter(
        task=options["task"] or None,
        worker_id=options["worker_id"] or None,
        job_id=options["id_pattern"] or None,
        submitted_after=after or None,
    )
    states = tuple(JobStatus(state.upper()) for state in options["states"]) or (JobStatus.PENDING,)
    named = {"task": options["task"], "queue": queue, "worker": options["worker_id"], "id": options["id_pattern"]}
    named |= {"state": ",".join(states), "submitted_after": iso(after)}
    return OpenJobs(
        what=" ".join(f"{name}={value}" for name, value in named.items() if value),
        states=states,
        queues=(queue,) if queue else (),
        submitted_before=options["submitted_before"] or 0,
        fits=lambda job: fits.fits(job, now),
    )


def _show(found: Preview, limit: int | None) -> None:
    at_most = f", at most {limit} now" if limit is not None and limit < found.count else ""
    more = "" if found.complete else " or more"
    remark(f"{found.count}{more} job{'' if found.count == 1 else 's'} to cancel{at_most}:")
    for (task, queue, status), count in found.groups.most_common(SHOWN_AT_ONCE):
        remark(f"  {count:>7}  {status:<10}  {task}  (queue {queue})")
    if found.sample:
        remark(f"  such as {', '.join(found.sample)}")


def _report(report: CancelReport, selection: OpenJobs, out: Output, verb: str, *, dry_run: bool = False) -> int:
    from jobclaim.cli.bulk import exit_code
    from jobclaim.views.humane import iso

    record = {
        "verb": verb,
        "dry_run": dry_run,
        "matched": report.matched,
        "done": report.done,
        "requested": report.requested,
        "limited": report.limited,
        "submitted_before": iso(selection.submitted_before),
        "refused": [{"job_id": job_id, "reason": reason} for job_id, reason in report.refused],
    }
    requested = f", {report.requested} of them requested from their workers" if report.requested else ""
    words = "nothing was changed" if dry_run else f"{report.done} of {report.matched} done{requested}"
    if not out.is_ids:
        out.fact(record, f"{verb}: {words}")
    for job_id, reason in report.refused:
        remark(f"refused: {job_id}: {reason}")
    return exit_code(report.done, [ExitCode.ERROR] * len(report.refused))


def _continue_command(options: dict[str, Any], selection: OpenJobs) -> str:
    """Return the command that continues with the remaining jobs: the same selection, with the same end."""
    from jobclaim.views.humane import iso

    words = ["jobclaim", "cancel"]
    for name, option in OPTIONS.items():
        value = options[name]
        for one in value if isinstance(value, tuple) else (value,) if value else ():
            words += [option] if one is True else [option, f"{one}"]
    for option, at in (
        ("--submitted-after", options["submitted_after"]),
        ("--submitted-before", selection.submitted_before),
    ):
        words += [option, str(iso(at))] if at else []
    return shlex.join(words)
