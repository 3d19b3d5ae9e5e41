"""`jobclaim audit`: find problems in the tasks' source and in the app."""

from __future__ import annotations

from pathlib import Path

import click

from jobclaim.cli.errors import Refused
from jobclaim.cli.output import Format, Output, output_option, remark
from jobclaim.cli.session import Session, pass_session
from jobclaim.specs.plurals import counted

REPORT = "tasks.md"
"""File name of the report when a folder is given."""


@click.command(
    epilog="""\b
Examples:
  jobclaim audit src/                         by source and by the registered app
  jobclaim audit --static src/                source only: nothing is imported
  jobclaim audit --duplicates-only src/
  jobclaim audit --generate-report tasks.md src/
  jobclaim audit --baseline .jobclaim-audit.json --write-baseline src/
  jobclaim audit --reconcile                  do table and queues agree?
"""
)
@click.argument("roots", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FOLDER]...")
@click.option("--static", is_flag=True, help="Read the source only; import nothing.")
@click.option(
    "-A",
    "--app",
    "app",
    metavar="MODULE:NAME",
    help="Celery app to import. Default: jobclaim's own, from the settings.",
)
@click.option("--duplicates-only", is_flag=True, help="Report duplicate task names only.")
@click.option(
    "--generate-report",
    "report_to",
    type=click.Path(path_type=Path),
    help="Write an inventory in Markdown: a file, or a folder (a name without a suffix), which gets tasks.md.",
)
@click.option("--baseline", type=click.Path(path_type=Path), help="File of known findings, which are not reported.")
@click.option("--write-baseline", is_flag=True, help="Write the current findings to --baseline.")
@click.option("--reconcile", is_flag=True, help="Compare the job table with the queues instead.")
@output_option
@pass_session
def command(
    session: Session,
    roots: tuple[Path, ...],
    static: bool,
    app: str | None,
    duplicates_only: bool,
    report_to: Path | None,
    baseline: Path | None,
    write_baseline: bool,
    reconcile: bool,
    output: Format | None,
) -> None:
    """Find duplicate names, mixed decorators, odd names, tasks without route or limit, late acknowledgment, far ETAs,
    writes without a claim, and unused queues.

    Without --static, the app is imported too, because only the app has the routes, limits and queues. Exits with 4 when
    there are findings.
    """
    from jobclaim.cli.findings import conclude, find_app
    from jobclaim.governance.audit_rules import audit
    from jobclaim.governance.inspection import fleet_of
    from jobclaim.governance.report import report
    from jobclaim.governance.source import read

    out = Output(output, id_field="subject")
    if reconcile:
        click.get_current_context().exit(_reconcile(session, out))
    source = read(roots or [Path.cwd()])
    fleet = None if static else fleet_of(find_app(app) if app else session.app_with_tasks)
    found = audit(source, fleet, ["duplicate-names"] if duplicates_only else [])
    if report_to is not None:
        _write_report(report_to, report(source, fleet, found))
    for file in source.unread:
        remark(f"not read, because it is not valid Python of this version: {file}")
    checked = f"{counted(len(source.tasks), 'task')} of {counted(source.files, 'file')} ({source.shared_share})"
    click.get_current_context().exit(conclude(found, out, checked=checked, baseline=baseline, write=write_baseline))


def _write_report(path: Path, text: str) -> None:
    """Write the report to a file, or into a folder; missing folders are created."""
    target = path / REPORT if path.is_dir() or not (path.suffix or path.exists()) else path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    except OSError as error:
        raise Refused(
            f"--generate-report {str(path)!r} cannot be written: {error.strerror}; name a file or folder that you may "
            "write"
        ) from error
    remark(f"wrote {target}")


def _reconcile(session: Session, out: Output) -> int:
    from jobclaim.cli.findings import conclude
    from jobclaim.governance.reconcile import reconcile
    from jobclaim.infra.clients import sqs_client

    found, looked = reconcile(session.repo, sqs_client(session.settings), session.settings)
    return conclude(found, out, checked=f"{counted(looked.jobs, 'open job')} and {counted(looked.messages, 'message')}")
