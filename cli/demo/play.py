"""Run the demo from start to verdict: play the story, show its progress, and draw the result."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobclaim.cli.demo.stage import stage
from jobclaim.cli.demo.story import Story, Stuck
from jobclaim.cli.demo.verdict import Verified, figures, judge
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Output, console, remark
from jobclaim.cli.processes import signals_as_interrupt

if TYPE_CHECKING:
    from rich.console import Console


def play(out: Output, keep: Path | None = None) -> ExitCode:
    """Run the demo; return `ExitCode.OK` only if every guarantee held.

    Parameters
    ----------
    keep : Path, optional
        Directory for logs and evidence; default: a temporary directory, which is removed unless a guarantee failed.
    """
    directory = keep or Path(tempfile.mkdtemp(prefix="jobclaim-demo-"))
    ok = False
    try:
        record = _perform(directory)
        ok = record["ok"]
        out.one(record, lambda screen: _draw(screen, record))
        if not ok:
            _explain(record, directory)
        return ExitCode.OK if ok else ExitCode.ERROR
    except KeyboardInterrupt:
        ok = True
        raise
    finally:
        if keep is None and (ok or not any(directory.glob("worker-*.log"))):
            shutil.rmtree(directory, ignore_errors=True)


def _perform(directory: Path) -> dict[str, Any]:
    """Play the story in a directory and judge it; return figures and claims."""
    began = time.monotonic()
    with signals_as_interrupt() as check, _Progress(check) as tell, stage(directory) as set_up:
        story = Story(set_up, tell)
        stuck = _play(story)
        set_up.end()  # stopped first, so that nothing happens after the evidence is collected
        evidence = story.evidence()
    claims = judge(evidence)
    if stuck:
        claims.append(Verified("The scenario is complete", False, stuck))
    return {
        "ok": all(claim.held for claim in claims),
        "seconds": round(time.monotonic() - began, 1),
        "figures": figures(evidence),
        "claims": [{"claim": claim.promise, "held": claim.held, "finding": claim.finding} for claim in claims],
    }


def _play(story: Story) -> str:
    """Play the story; report an error instead of raising it: the evidence so far is more useful than a traceback."""
    try:
        story.play()
    except Stuck as error:
        return str(error)
    return ""


class _Progress:
    """Shows each step as a permanent line, with a spinner on a terminal. After an interrupt, the next step ends the
    story.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._console = console(stderr=True)
        self._status = self._console.status("A local AWS with tables and queues is running")
        self._began = time.monotonic()

    def __enter__(self) -> _Progress:
        self._status.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._status.stop()

    def __call__(self, step: str) -> None:
        self._check()
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {step}", soft_wrap=True)
        self._status.update(step)


def _draw(screen: Console, record: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    counted = Table(box=box.SIMPLE_HEAD, title="What happened", title_justify="left", show_header=False, pad_edge=False)
    counted.add_column()
    counted.add_column(justify="right", style="bold")
    for name, value in record["figures"].items():
        counted.add_row(name, str(value))
    judged = Table(box=box.SIMPLE_HEAD, title="What it shows", title_justify="left", show_header=False, pad_edge=False)
    for no_wrap in (True, True, False):
        judged.add_column(no_wrap=no_wrap, overflow="fold")
    for claim in record["claims"]:
        mark = Text("holds", style="green") if claim["held"] else Text("FAILS", style="bold red")
        judged.add_row(mark, claim["claim"], Text(claim["finding"], style="dim"))
    screen.print(counted)
    screen.print(judged)
    screen.print(f"{'All of it holds' if record['ok'] else 'It does not hold'}, after {record['seconds']} s.")


def _explain(record: dict[str, Any], directory: Path) -> None:
    for claim in record["claims"]:
        if not claim["held"]:
            remark(f"failed: {claim['claim']}: {claim['finding']}")
    remark(f"Logs of all processes are kept in {directory}")
