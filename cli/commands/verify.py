"""`jobclaim verify`: test the documented guarantees from outside."""

from __future__ import annotations

import secrets
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from jobclaim.cli.drawing import Drawn, cell, grid, stacked
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Format, Output, remark, report_option

if TYPE_CHECKING:
    from jobclaim.verify.deployment import Endpoints
    from jobclaim.verify.verification import Verdict

SHOWN_AS: Final = {"held": ("held", "green"), "broken": ("BROKEN", "bold red"), "untested": ("not tested", "yellow")}


@click.command(
    epilog="""\b
Examples:
  jobclaim verify
  jobclaim verify --minutes 20 --jobs 20000 --seed 7
  jobclaim verify --dynamodb-url http://127.0.0.1:8000 --sqs-url http://127.0.0.1:9324
  jobclaim verify -o json | jq '.promises[] | select(.state != "held")'
"""
)
@click.option(
    "--minutes", type=click.FloatRange(min=0.4, max=600), default=1.0, show_default=True, help="Minutes of faults."
)
@click.option(
    "-n", "--jobs", type=click.IntRange(100, 1_000_000), default=None, help="Number of jobs.  [default: 600 a minute]"
)
@click.option(
    "--seed", type=int, default=None, help="Seed that repeats the calls and faults of a run; default: random."
)
@click.option("--dynamodb-url", default=None, metavar="URL", help="URL of DynamoDB over plain HTTP; default: embedded.")
@click.option("--sqs-url", default=None, metavar="URL", help="URL of SQS over plain HTTP; default: embedded.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for all logs.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the report to this file, as Markdown.",
)
@report_option
def command(
    minutes: float,
    jobs: int | None,
    seed: int | None,
    dynamodb_url: str | None,
    sqs_url: str | None,
    keep: Path | None,
    report: Path | None,
    output: Format | None,
) -> None:
    """Run real workers under random faults, and report how often each guarantee was tested and whether it held.

    Workers and their child processes are killed, frozen and replaced. Proxies in front of DynamoDB and SQS copy, lose,
    repeat and forge messages, reset connections and lose responses. The run uses an embedded AWS, or your emulators,
    with temporary tables and queues that are deleted again. Your deployment is not touched, and your settings do not
    apply. Exits with 4 when a guarantee is broken or was never tested.
    """
    from jobclaim.verify import report as reports
    from jobclaim.verify.verification import verify_promises

    # SIGTERM raises KeyboardInterrupt, so started processes are ended
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    endpoints = _endpoints(dynamodb_url, sqs_url)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    jobs = jobs or max(100, round(600 * minutes))
    remark(f"Seed {seed}: {jobs:,} jobs in {minutes:g} minutes of faults.")
    with tempfile.TemporaryDirectory(prefix="jobclaim-verify-") as scratch:
        folder = (keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        verdict = verify_promises(
            minutes=minutes, jobs=jobs, seed=seed, folder=folder, notify=remark, endpoints=endpoints
        )
    if report is not None:
        command_line = f"jobclaim verify --minutes {minutes:g} --jobs {jobs} --seed {seed}"
        report.write_text(reports.markdown(verdict.evidence, verdict.figures, verdict.results, command_line))
    record = {
        "seed": seed,
        "minutes": minutes,
        "jobs": len(verdict.evidence.jobs),
        "held": verdict.held,
        "promises": reports.records(verdict.results),
    }
    Output(output).one(record, lambda: _drawn(verdict))
    if not verdict.held:
        raise click.exceptions.Exit(ExitCode.CHECK_FAILED)


def _drawn(verdict: Verdict) -> Drawn:
    """Draw the promises, each with what broke it, and the summary."""
    from jobclaim.verify import report

    rows: list[tuple[str, ...]] = []
    for result in verdict.results:
        rows.append((result.name, result.code, f"{result.tested:,}", cell(*SHOWN_AS[result.state])))
        if result.violations:
            rows.append((cell(result.finding(), "red"), "", "", ""))
    promises = grid(rows, titles=("promise", "check", "tested", ""), whole={1, 2, 3}, right={2})
    return stacked(promises, "", grid([(report.summary(verdict.evidence, verdict.figures, verdict.results),)]))


def _endpoints(dynamodb: str | None, sqs: str | None) -> Endpoints | None:
    from jobclaim.verify.deployment import Endpoints

    if dynamodb is None and sqs is None:
        return None
    if dynamodb is None or sqs is None:
        raise click.UsageError("Name both --dynamodb-url and --sqs-url, or neither for an embedded AWS.")
    for url in (dynamodb, sqs):
        if not url.startswith("http://"):
            raise click.UsageError(
                f"{url!r} is not a plain HTTP address. `verify` reaches it through a proxy, and a request signed for "
                "AWS's own host cannot go through one. Give the address of an emulator, such as http://127.0.0.1:8000."
            )
    return Endpoints(dynamodb, sqs)
