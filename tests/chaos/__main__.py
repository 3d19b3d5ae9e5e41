"""``python -m tests.chaos --minutes 20 --jobs 20000 --seed 1``: run, print the table, exit 4 where a promise broke."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from tests.chaos import report
from tests.chaos.plan import LONG, SHORT, draw
from tests.chaos.run import run, staged
from tests.chaos.verdict import judge
from tests.support.endpoints import dynamodb_local, elasticmq

RESULTS: Final = Path(__file__).parents[2] / "bench" / "results" / "chaos.md"
FAKE: Final = {"AWS_ACCESS_KEY_ID": "jobclaimtest", "AWS_SECRET_ACCESS_KEY": "jobclaimtest", "AWS_REGION": "us-east-1"}


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.3), default=20.0, show_default=True)
@click.option("--jobs", type=click.IntRange(min=10), default=20_000, show_default=True)
@click.option("--seed", type=int, default=None, help="Default: drawn from the time.")
@click.option("--write/--no-write", default=None, help="Write bench/results/chaos.md.  [default: from 20 minutes on]")
@click.option("--keep", type=click.Path(path_type=Path), default=None, help="Folder for logs and evidence.")
def main(minutes: float, jobs: int, seed: int | None, write: bool | None, keep: Path | None) -> None:
    """Run chaos and judge it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # so that whatever was started is ended
    seed = int(time.time()) if seed is None else seed
    os.environ.update(FAKE)
    scale = LONG if minutes >= 2 else SHORT
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        _log_to(folder / "submitters.log")
        plan = draw(seed, seconds=60 * minutes, jobs=jobs, scale=scale)
        with (
            dynamodb_local(folder) as dynamodb,
            elasticmq(folder) as sqs,
            staged(dynamodb, sqs, folder, scale) as stage,
        ):
            evidence, figures = run(stage, plan, 60 * minutes, scale, console.print)
    rules = judge(evidence)
    report.show(Console(), evidence, figures, rules)
    if minutes >= 20 if write is None else write:
        command = f"python -m tests.chaos --minutes {minutes:g} --jobs {jobs} --seed {seed}"
        RESULTS.write_text(report.markdown(evidence, figures, rules, command))
    sys.exit(0 if all(rule.held for rule in rules) else 4)


def _log_to(path: Path) -> None:
    """Keep the submitters' log lines off the table."""
    handler = logging.FileHandler(path)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(path.with_suffix(".events.log").open("a")),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


if __name__ == "__main__":
    main()
