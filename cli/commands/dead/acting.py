"""Output of `jobclaim dead retry`, `resolve` and `abandon`: preview, progress and report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from jobclaim.cli.bulk import exit_code
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Output, remark

if TYPE_CHECKING:
    from jobclaim.recovery.dead import ActReport, DeadLetters, Filter, Verb

SHOWN_AT_ONCE: Final = 20
"""Number of groups in a preview; `jobclaim dead list --groups` shows all."""


def preview(dead: DeadLetters, selection: Filter | Sequence[str], verb: Verb, limit: int | None) -> int:
    """Write to standard error which jobs are selected; return how many there are, ignoring the limit."""
    from jobclaim.recovery.dead import Filter

    if not isinstance(selection, Filter):
        return len(selection)
    groups = dead.groups(selection)
    count = sum(group.count for group in groups)
    at_most = f", at most {limit} now" if limit is not None and limit < count else ""
    remark(f"{count} dead letter{'' if count == 1 else 's'} to {verb} in {len(groups)} groups{at_most}:")
    for group in groups[:SHOWN_AT_ONCE]:
        remark(f"  {group.count:>7}  {group.fingerprint}  {group.kind} {group.exception} {group.where}")
    return count


def print_plan(
    dead: DeadLetters, selection: Filter | Sequence[str], verb: Verb, count: int, limit: int | None, out: Output
) -> None:
    """Write what a dry run would do: the record of an action without effect, or the ids of the selected jobs."""
    from jobclaim.recovery.dead import ActReport, Filter

    matched = count if limit is None else min(count, limit)
    if not isinstance(selection, Filter):
        remark(f"{matched} named jobs would be selected to {verb}.")
    if out.is_ids:
        job_ids = (job.job_id for job in dead.find(selection)) if isinstance(selection, Filter) else iter(selection)
        for job_id in islice(job_ids, matched):
            out.id(job_id)
    elif out.format != "table":
        report = ActReport(matched=matched, limited=matched < count)
        out.one(act_record(verb, report, dry_run=True), str)


def print_report(verb: Verb, report: ActReport, out: Output) -> int:
    """Write the report and return the exit code. With ``-o ids``, each id was already written when its job was done."""
    from jobclaim.recovery.dead.letters import NO_SUCH_JOB

    if not out.is_ids:
        out.fact(act_record(verb, report, dry_run=False), f"{verb}: {report.done} of {report.matched} done")
    for job_id, reason in report.refused:
        remark(f"refused: {job_id}: {reason}")
    if report.unsent:
        remark(f"{report.unsent} messages were not sent; recovery sends them")
    codes = [ExitCode.NOT_FOUND if reason == NO_SUCH_JOB else ExitCode.ERROR for _, reason in report.refused]
    return exit_code(report.done, codes)


def act_record(verb: Verb, report: ActReport, *, dry_run: bool) -> dict[str, Any]:
    """Build the record of an action."""
    return {
        "verb": verb,
        "dry_run": dry_run,
        "matched": report.matched,
        "done": report.done,
        "unsent": report.unsent,
        "limited": report.limited,
        "refused": [{"job_id": job_id, "reason": reason} for job_id, reason in report.refused],
    }
